"""A pipeline that is killed again and again loses nothing, repeats no output, pays nothing twice.

The same as ``benchmarks/durability/kill.py`` at 20 points; the benchmark goes through 200.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    return load("benchmarks/durability/kill.py")


def load(path: str) -> ModuleType:
    """A module of the benchmarks, which are no package of an installation."""
    sys.path.insert(0, str(ROOT))
    try:
        name = path.removesuffix(".py").replace("/", ".")
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT))


@pytest.mark.timeout(400)
def test_twenty_kills_lose_nothing_and_repeat_only_what_was_in_flight(
    kill: ModuleType, tmp_path: Path
) -> None:
    plan = kill.Plan(items=400, points=20)
    kills, sums = kill.run(tmp_path, plan)
    assert len(kills) == plan.points
    assert kill.check_output(tmp_path, plan) == []
    assert kill.check_calls(kills, sums, plan) == []


@pytest.mark.timeout(200)
def test_without_the_ledger_calls_are_seen_to_repeat(kill: ModuleType, tmp_path: Path) -> None:
    plan = kill.Plan(items=200, points=4, ledger=False, interval=1.0)
    kills, sums = kill.run(tmp_path, plan)
    assert kill.check_output(tmp_path, plan) == []
    assert sums["distinct_bodies"] == 2 * plan.items
    assert sums["repeats_by_body"] > 2 * plan.concurrency * len(kills)


def test_the_verdict_sees_what_is_wrong(kill: ModuleType, tmp_path: Path) -> None:
    import json
    import sqlite3

    plan = kill.Plan(items=3, points=2, concurrency=1)
    kill.prepare(tmp_path, plan)
    rows = [{"id": f"i{n}", "n": 1 + (n == 9), "first": "a", "second": "b"} for n in range(3)]
    with sqlite3.connect(tmp_path / "answers.db") as database:
        database.executemany("INSERT INTO answers VALUES (:id, :n, :first, :second)", rows)
    database.close()

    def faults(*written: dict[str, object]) -> list[str]:
        text = "".join(json.dumps(one) + "\n" for one in written)
        (tmp_path / "answers.jsonl").write_text(text)
        return list(kill.check_output(tmp_path, plan))

    assert faults(*rows) == []
    assert "1 items lost" in faults(*rows[:2])[0]
    assert "1 items duplicate" in faults(*rows, rows[0])[0]
    assert "1 items with wrong state" in faults(*rows[:2], {**rows[2], "n": 7})[0]
    assert faults(rows[1], rows[0], rows[2]) == ["file: the order is not that of the input"]

    first, second = kill.Kill(3, 3, 0, 2), kill.Kill(5, 4, 1, 3)
    sums = {"distinct_bodies": 6, "repeats_by_body": 2}
    assert kill.check_calls([first, second], sums, plan) == []
    assert (
        "5 different calls"
        in kill.check_calls([first, second], {**sums, "distinct_bodies": 5}, plan)[0]
    )
    ledgered = first._replace(ledgered=3)
    assert "1 calls repeated, 0 were not" in kill.check_calls([ledgered, second], sums, plan)[0]
    many = {**sums, "repeats_by_body": 9}
    assert len(kill.check_calls([first, second], many, plan)) == 2
