"""Every example runs, and prints what its docstring says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


def test_there_are_examples() -> None:
    assert len(PROGRAMS) >= 3


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_example_prints_what_it_says(program: Path, tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(program.read_text("utf-8"))) or ""
    assert "Prints::" in docstring
    expected = textwrap.dedent(docstring.split("Prints::")[1]).strip("\n") + "\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    # Nothing but what a program asks for: no log lines, no files left behind.
    assert done.stderr == ""


def test_the_readme_lists_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    folders = [path.parent for path in EXAMPLES.glob("*/README.md")]
    for path in [*PROGRAMS, *folders]:
        assert path.relative_to(EXAMPLES).as_posix() in text, f"{path.name} is not in the table"
