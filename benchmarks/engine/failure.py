"""W8: item 1,000 of 10,000 raises.

    python -m benchmarks.engine.failure [--rounds 5] [--json PATH]

By default the job stops, after it delivered the 1,000 good items before; the error names the
operator, the item and its index. With ``on_error="skip"`` or ``"dead_letter"`` all 9,999 good items
arrive. Measured are good items lost (or delivered twice), and how many of the three the error does
not name.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment
from sage.common.errors import TaskFailedError

ITEMS, BAD = 10_000, 1_000


class BadItemError(ValueError):
    """What the step raises."""


def question(number: int) -> str:
    return f"question {number}"


def answer(item: str) -> str:
    if item == f"question {BAD}":
        raise BadItemError(f"cannot answer {item!r}")
    return item


async def answer_async(item: str) -> str:
    return answer(item)


VARIANTS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "fused": (answer, {}, {}),
    "a thread per step": (answer, {"fusion": False}, {}),
    "asynchronous, 128 in flight": (answer_async, {}, {"concurrency": 128}),
    "parallel, 4 threads": (answer, {}, {"parallelism": 4}),
}


def run(variant: str, **policy: Any) -> tuple[list[str], Exception | None]:
    step, config, options = VARIANTS[variant]
    got: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        env = LocalEnvironment("failure", config={**config, "dead_letter_dir": folder})
        stream = env.from_source(map(question, range(ITEMS)), name="questions")
        stream.map(step, name="answer", **options, **policy).sink(got.append)
        error: Exception | None = None
        try:
            env.submit().wait()
        except TaskFailedError as failed:
            error = failed
        if policy.get("on_error") == "dead_letter":
            letters = env.jobs[0].dead_letters()
            if [letter["item"] for letter in letters] != [question(BAD)]:
                raise RuntimeError(f"{len(letters)} dead letters, expected the one bad item")
    return got, error


def unnamed(error: Exception | None) -> int:
    """How many of operator, item, index and cause the error does not name."""
    if error is None:
        return 4
    text = str(error)
    named = ("'answer'" in text, question(BAD) in text, f":{BAD}" in text)
    return 4 - sum(named) - isinstance(error.__cause__, BadItemError)


def lost(got: list[str], wanted: list[str]) -> int:
    """Good items that are missing, and those that came twice or too early."""
    return len(set(wanted) - set(got)) + len(got) - len(set(got)) + (got[: len(wanted)] != wanted)


def measure(options: argparse.Namespace) -> list[Row]:
    before = [question(i) for i in range(BAD)]
    good = [question(i) for i in range(ITEMS) if i != BAD]
    rows = []
    for variant in VARIANTS:
        missing, silent = [], []
        for _ in range(options.rounds):
            got, error = run(variant)
            missing.append(lost(got, before))
            silent.append(unnamed(error))
        rows.append(Row(f"W8 fail, {variant}", "good items lost or repeated", missing, 0))
        rows.append(Row(f"W8 fail, {variant}", "not named: step, item, index, cause", silent, 0))
        for policy in ("skip", "dead_letter"):
            missing = [lost(run(variant, on_error=policy)[0], good) for _ in range(options.rounds)]
            rows.append(Row(f"W8 {policy}, {variant}", "good items lost or repeated", missing, 0))
    return rows


if __name__ == "__main__":
    run_as_script(__doc__, measure)
