"""The streams are generic: mypy sees what flows."""

from __future__ import annotations

from pathlib import Path

import pytest

mypy_api = pytest.importorskip("mypy.api")


@pytest.mark.timeout(300)
def test_types_of_streams(tmp_path):
    cases = Path(__file__).parent / "typing_cases.py"
    out, err, status = mypy_api.run(["--strict", f"--cache-dir={tmp_path}", str(cases)])
    wrong = [line for line in out.splitlines() if "typing_cases.py" in line]
    assert not wrong, "\n".join(wrong)
    assert status == 0 or "typing_cases" not in out, out + err
