"""What the meta tests share: the files of the checkout and the modules of its packages."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git tracks or would track: what a reader of the repository sees."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def sources() -> list[Path]:
    """Every Python module that a distribution ships."""
    found = sorted(ROOT.glob("packages/*/src/sage/**/*.py"))
    found += sorted(ROOT.glob("tools/*/src/sage/**/*.py"))
    assert len(found) > 20
    return found


@pytest.fixture(scope="session")
def module_name() -> Callable[[Path], str]:
    def name(path: Path) -> str:
        parts = path.parts[path.parts.index("src") + 1 :]
        dotted = ".".join(parts).removesuffix(".py")
        return dotted.removesuffix(".__init__")

    return name


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], ast.Module]:
    parsed: dict[Path, ast.Module] = {}

    def parse(path: Path) -> ast.Module:
        if path not in parsed:
            parsed[path] = ast.parse(path.read_text("utf-8"), str(path))
        return parsed[path]

    return parse
