"""Every benchmark that reports rows can be run from ``benchmarks/run.py`` and is in its README."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.run import BENCHMARKS, ON_DATA  # noqa: E402

sys.path.remove(str(ROOT))

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").glob("*/*.py")
    if "run_as_script(__doc__" in path.read_text(encoding="utf-8")
)


def test_none_is_left_out():
    assert sorted(module for module, _ in BENCHMARKS.values()) == MODULES


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_readme_has_it(name):
    assert f"| `{name}` |" in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_what_needs_data_sets_says_so():
    command = [sys.executable, "benchmarks/run.py", *ON_DATA]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--data is needed for {', '.join(sorted(ON_DATA))}" in done.stderr
