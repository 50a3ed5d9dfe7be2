"""Dead letters of a job, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.lib.io.sink.terminal import clean


def failure_of(letter: Mapping[str, Any], *, item: bool = False) -> str:
    """Why an item failed, in one line.

    Args:
        letter: As ``Job.dead_letters`` gives it.
        item: Say which step and item.
    """
    error = letter.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    where = f"{letter.get('operator')}: {letter.get('item')}: " if item else ""
    return clean(f"{where}{message}")
