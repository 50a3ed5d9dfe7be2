"""What the application prints: answers as they come, then totals."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson

from sage.lib.adapt import to_dict
from sage.lib.evaluate import aggregate
from sage.lib.io.sink.terminal import clean
from sage.lib.types import Evaluation

NAMES = {"em": "exact match", "f1": "F1", "hit": "retrieval hit rate"}


class Report:
    """Prints to standard output: with colours on a terminal, plain text otherwise.

    Args:
        passages: How many passages to show per question.
    """

    def __init__(self, passages: int = 3) -> None:
        self._passages = passages
        self._rich = sys.stdout.isatty()
        self._number = 0

    def head(self, searched: str, generator: str) -> None:
        """Say what is about to run."""
        self._print(f"{searched}, retrieval: hybrid")
        self._print(f"answers by {generator}")

    def answer(self, item: Evaluation) -> None:
        """Print one answer with its passages."""
        self._number += 1
        answer = item.answer
        self._print()
        self._print(f"{self._number}. {answer.query.text}", style="bold")
        for passage in answer.passages[: self._passages]:
            score = "     -" if passage.score is None else f"{passage.score:6.3f}"
            text = " ".join(passage.text.split())
            shown = text if len(text) <= 90 else text[:89] + "…"
            page = passage.metadata.get("page")
            place = passage.id if page is None else f"{passage.id}, page {page}"
            self._print(f"   [{score}] {place}: {shown}", style="dim")
        self._print(f"   → {answer.text}", style="green")
        facts = [f"{(answer.latency or 0.0) * 1000:.1f} ms"]
        if answer.usage.output_tokens is not None:
            facts.append(f"{answer.usage.input_tokens} + {answer.usage.output_tokens} tokens")
        if answer.query.answers:
            facts.append("expected: " + " | ".join(answer.query.answers))
            facts += [
                f"{NAMES.get(name, name)} {value:.2f}"
                for name, value in item.scores.items()
                if value is not None and name != "hit"
            ]
        self._print("   " + ", ".join(facts), style="dim")

    def totals(self, items: Sequence[Evaluation], seconds: float, index_seconds: float) -> None:
        """Print the means of all scores and the time it took."""
        self._print()
        for name, found in aggregate(items).items():
            if found.mean is not None:
                text = f"{NAMES.get(name, name)}: {found.mean * 100:.1f} %"
                self._print(f"{text} of {found.count} questions", style="bold")
        self._print(f"{len(items)} answers in {seconds:.2f} s, indexing took {index_seconds:.2f} s")

    def _print(self, text: str = "", style: str | None = None) -> None:
        text = clean(text)
        if self._rich:
            from rich.console import Console  # noqa: PLC0415 - only on a terminal
            from rich.text import Text  # noqa: PLC0415

            Console(highlight=False).print(Text(text, style=style or ""))
        else:
            sys.stdout.write(text + "\n")


def summary(
    items: Sequence[Evaluation], seconds: float, index_seconds: float, generator: str
) -> dict[str, Any]:
    """The totals as plain data."""
    return {
        "questions": len(items),
        "generator": generator,
        "scores": {name: to_dict(found) for name, found in aggregate(items).items()},
        "seconds": round(seconds, 4),
        "index_seconds": round(index_seconds, 4),
    }


def write_json(items: Sequence[Evaluation], totals: dict[str, Any]) -> None:
    """Print everything as one JSON object."""
    data = {"answers": [to_dict(item) for item in items], "summary": totals}
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(data, default=str, option=option).decode() + "\n")
