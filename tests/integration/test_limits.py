"""Two job processes that share one key keep to its limit, configured or read from the headers.

The same as ``benchmarks/durability/limits.py``, in small, and without judging times.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("configured", [True, False], ids=["configured", "headers"])
def test_two_processes_share_a_limit_without_refusals(configured: bool) -> None:
    sys.path.insert(0, str(ROOT))
    try:
        limits = importlib.import_module("benchmarks.durability.limits")
    finally:
        sys.path.remove(str(ROOT))
    # Each process alone would be refused: the server saves up little more than one burst.
    found = limits.measure(tpm=600_000, window=6, seconds=4, configured=configured)
    assert found["answered"] == found["expected"] == found["distinct_bodies"]
    assert found["statuses"].get("429", 0) <= 0.005 * found["calls"]
