"""Fixtures of these tests: installed distributions, and the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sage.common.plugins import refresh


class Site:
    """A folder that looks like site-packages: distributions are written into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        entry_points: str,
        modules: dict[str, str] | None = None,
        version: str = "1.0",
    ) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        for path, source in (modules or {}).items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source))
        refresh()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty site folder at the front of ``sys.path``; what it loads is forgotten afterwards."""
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    before = set(sys.modules)
    refresh()
    yield made
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(made.folder)):
            del sys.modules[name]
    refresh()


@pytest.fixture
def sage(tmp_path):
    """Run the command line in a process of its own: ``sage("operators", "list", path=folder)``."""

    def run(*args, program="sage", path=(), cwd=None, **env):
        environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("SAGE_") and key not in ("NO_COLOR", "FORCE_COLOR")
        }
        environ |= {
            "SAGE_HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
        }
        code = "import sys; from sage.common.cli import main, standalone; sys.exit({}())".format(
            "main" if program == "sage" else f"standalone({program.removeprefix('sage-')!r})"
        )
        return subprocess.run(
            [sys.executable, "-W", "default", "-c", code, *args],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=cwd or tmp_path,
            env={**environ, **env},
            timeout=60,
            check=False,
        )

    return run
