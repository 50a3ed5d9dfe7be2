"""The blocks of ``docs/engine.md`` run and print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[4] / "docs" / "engine.md"
BLOCKS = re.findall(
    r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
)


def test_every_block_has_its_output():
    assert len(BLOCKS) == PAGE.read_text("utf-8").count("```python") >= 3


@pytest.mark.parametrize(("code", "printed"), BLOCKS)
def test_block(code, printed):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
