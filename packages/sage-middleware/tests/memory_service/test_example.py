"""The memory example prints what its docstring says."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def test_the_example_prints_what_it_says(tmp_path: Path) -> None:
    program = ROOT / "examples" / "memory" / "remembering_chat.py"
    docstring = ast.get_docstring(ast.parse(program.read_text("utf-8"))) or ""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = textwrap.dedent(docstring.split("Prints::")[1]).strip("\n") + "\n"
    assert done.stdout == expected
