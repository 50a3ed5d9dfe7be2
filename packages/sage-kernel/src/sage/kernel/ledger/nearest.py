"""What a replay that misses a call says: the step, the record, and what was recorded instead."""

from __future__ import annotations

import json
from difflib import SequenceMatcher, unified_diff
from typing import TYPE_CHECKING, Any, Final

from sage.kernel.ledger.errors import LedgerError, LedgerMissError

if TYPE_CHECKING:
    from sage.kernel.ledger.calls import Request, StepCalls

CANDIDATES: Final = 50
"""Recorded requests that are compared."""
COMPARED: Final = 4000
"""Characters of each that are compared."""
SHOWN_LINES: Final = 40


def miss(calls: StepCalls, asked: Request) -> LedgerMissError:
    """The error for a call that a replay needs and that was not recorded."""
    ledger, record, step = calls.ledger, asked.attempt.record, calls.context.operator
    wanted = readable(asked.value())
    rows = ledger.store.query(
        "SELECT calls.record, calls.ordinal, calls.input, steps.version FROM calls "
        "JOIN steps ON steps.id = calls.step WHERE steps.run = ? AND steps.uid = ? "
        "AND calls.input IS NOT NULL AND calls.error IS NULL "
        "ORDER BY calls.record <> ?, calls.id LIMIT ?",
        (ledger.id, calls.uid, record, CANDIDATES),
    )
    best: tuple[float, str, int, str, str] | None = None
    for other, ordinal, packed, version in rows:
        try:
            text = readable(ledger.value(packed, "a recorded request"))
        except LedgerError:
            continue
        ratio = SequenceMatcher(None, wanted[:COMPARED], text[:COMPARED], autojunk=False)
        likeness = ratio.quick_ratio() + (1 if other == record else 0)
        if best is None or likeness > best[0]:
            best = (likeness, other, ordinal, version, text)
    message = (
        f"replay of run {ledger.id!r}: step {step!r} makes a call for record {record!r} that was "
        f"not recorded"
    )
    diff = ""
    if best is None:
        message += "; no call of this step was recorded"
    else:
        _, other, ordinal, version, text = best
        diff = "\n".join(
            list(
                unified_diff(
                    text.splitlines(),
                    wanted.splitlines(),
                    f"recorded for {other}",
                    f"now, for {record}",
                    lineterm="",
                    n=2,
                )
            )[:SHOWN_LINES]
        )
        if not diff and version != calls.version:
            message += (
                f"; the same request was recorded, but by other code of the step "
                f"(version {version}, now {calls.version}): fork the run from this step"
            )
        elif not diff:
            message += (
                f"; the same request was recorded for {other!r} (number {ordinal}), "
                f"this is number {asked.ordinal}"
            )
        else:
            message += f"; the nearest recorded request differs:\n{diff}"
    return LedgerMissError(
        message,
        step=step,
        record=record,
        request=wanted,
        nearest=None if best is None else best[4],
        diff=diff,
    )


def readable(value: Any) -> str:
    """A request as text of several lines, for people and for comparing."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=_plain, sort_keys=True)


def _plain(value: Any) -> Any:
    fields = getattr(type(value), "__attrs_attrs__", None)
    if fields is not None:
        return {field.name: getattr(value, field.name) for field in fields}
    if hasattr(value, "_asdict"):
        return value._asdict()
    return repr(value)
