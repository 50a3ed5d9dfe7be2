"""The command line against a JobManager of its own: a home, a daemon, programs to submit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CODE = (
    "import sys; from sage.common.cli import main, standalone; p = sys.argv.pop(1); "
    "sys.exit(main() if p == 'sage' else standalone(p.removeprefix('sage-'))())"
)


class Shell:
    """A folder, a home of SAGE, and the command line in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("SAGE_") and key not in ("NO_COLOR", "FORCE_COLOR")
        }
        self.environment = {**kept, "SAGE_HOME": str(folder / "home"), "COLUMNS": "200"}

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, *arguments: str, program: str = "sage") -> list[str]:
        """The words that run a command."""
        return [sys.executable, "-c", CODE, program, *arguments]

    def __call__(
        self, *arguments: str, program: str = "sage", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, program=program),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The result of a command as JSON; its exit code must be ``code``."""
        # What follows the file of `submit` belongs to the program.
        at = 2 if "submit" in arguments else len(arguments)
        done = self(*arguments[:at], "-o", "json", *arguments[at:])
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def start(self) -> None:
        """Start a JobManager on any free port; the commands find it."""
        url = self.json("jobmanager", "start", "--port", "0")["url"]
        assert url.startswith("http://127.0.0.1:")

    def stop(self) -> None:
        """Stop the JobManager and its jobs."""
        done = self("jobmanager", "stop", "--jobs", "cancel")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The command line with an empty home; no JobManager runs."""
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command line with a JobManager that lives for the module."""
    made = Shell(tmp_path_factory.mktemp("managed"))
    made.start()
    yield made
    made.stop()
