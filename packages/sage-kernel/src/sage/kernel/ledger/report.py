"""What a run cost, what came out of it, and why: read from the ledger, while it runs or later.

Predecessor: ``sage.kernel.ledger.store``; successors: ``sage.kernel.runtime.recorded`` (the job's
methods) and the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self

import attrs

from sage.common.errors import JobError, NotFoundError
from sage.kernel.ledger.payloads import unpack
from sage.kernel.ledger.records import lineage_of, root_of
from sage.kernel.ledger.store import Ledger

BY: Final = ("operator", "model", "item")


@attrs.frozen(kw_only=True)
class CostLine:
    """Calls with one key.

    Attributes:
        key: Name of the operator, model or item.
        calls: Calls that were made and answered.
        hits: Calls whose response was that of another call: nothing was paid.
        failed: Calls that raised.
        retries: Failed attempts inside of calls.
        input_tokens, output_tokens, cached_tokens: Sums over what the providers counted.
        cost: USD of the calls whose price is known.
        unpriced: Calls whose price is not known; they are missing in ``cost``.
    """

    key: str
    calls: int = 0
    hits: int = 0
    failed: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0


@attrs.frozen(kw_only=True)
class CostReport:
    """What a run cost, by operator, model or item; its text is a table.

    Attributes:
        run: Id of the run.
        by: ``operator``, ``model`` or ``item``.
        lines: One per key, the dearest first.
        total: Their sum; its key is ``total``.
        unpriced: ``provider model`` of calls whose price is not known -> their number.
    """

    run: str
    by: str
    lines: tuple[CostLine, ...]
    total: CostLine
    unpriced: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; money as text."""
        plain: dict[str, Any] = attrs.asdict(self)
        for line in (*plain["lines"], plain["total"]):
            line["cost"] = format(line["cost"], "f")
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """What ``to_dict`` made, also after a way through JSON."""
        *lines, total = (
            CostLine(**{**line, "cost": Decimal(line["cost"])})
            for line in (*plain["lines"], plain["total"])
        )
        return cls(**{**plain, "lines": tuple(lines), "total": total})

    def __str__(self) -> str:
        head = (self.by, "calls", "hits", "failed", "tokens in", "tokens out", "USD")
        rows = [
            (
                line.key,
                str(line.calls),
                str(line.hits),
                str(line.failed),
                str(line.input_tokens),
                str(line.output_tokens),
                _spent(line.cost, line.unpriced),
            )
            for line in (*self.lines, self.total)
        ]
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        text = [
            "  ".join(
                cell.ljust(width) if at in (0, 6) else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *rows)
        ]
        text += [
            f"price unknown: {what} ({count} call{'s' if count > 1 else ''})"
            for what, count in self.unpriced.items()
        ]
        return "\n".join(text)


def _spent(cost: Decimal, unpriced: int) -> str:
    known = [money(cost)] if cost or not unpriced else []
    return " + ".join(known + ([f"{unpriced} unknown"] if unpriced else []))


@attrs.frozen(kw_only=True)
class OutputFacts:
    """An item that reached a sink, or was lost.

    Attributes:
        record: Its record id, which ``why`` takes.
        step: The sink, or the step it was lost in.
        uid: Uid of that step.
        status: ``ok``, ``failed``, ``dead_letter`` or ``skipped``.
        at: Unix seconds.
        facts: What the item said about itself.
    """

    record: str
    step: str
    uid: str
    status: str
    at: float
    facts: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class CallFacts:
    """A call that went into an item.

    Attributes:
        step, record, kind, provider, model: What was called, for whom.
        input_tokens, output_tokens, cached_tokens: As the provider counted.
        cost: USD, ``None``: the price is not known.
        started: Unix seconds.
        latency: Seconds.
        retries: Failed attempts inside of the call.
        error: Why it failed, else ``None``.
        hit: Whether the response was taken from an earlier call, of this run or another.
    """

    step: str
    record: str
    kind: str
    provider: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost: Decimal | None
    started: float
    latency: float
    retries: int
    error: str | None
    hit: bool


@attrs.frozen(kw_only=True)
class Why:
    """Where an item came from; its text is the chain from the source to the item.

    Attributes:
        run: Id of the run.
        record: Record id of the item.
        outputs: What became of it, one per sink.
        calls: The calls that were made for it, in order.
        cost: USD of those whose price is known.
        unpriced: How many have none.
    """

    run: str
    record: str
    outputs: tuple[OutputFacts, ...]
    calls: tuple[CallFacts, ...]
    cost: Decimal
    unpriced: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; money as text."""
        plain: dict[str, Any] = attrs.asdict(self)
        plain["cost"] = format(self.cost, "f")
        for call in plain["calls"]:
            call["cost"] = None if call["cost"] is None else format(call["cost"], "f")
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """What ``to_dict`` made, also after a way through JSON."""
        calls = tuple(
            CallFacts(**{**call, "cost": None if call["cost"] is None else Decimal(call["cost"])})
            for call in plain["calls"]
        )
        outputs = tuple(OutputFacts(**each) for each in plain["outputs"])
        cost = Decimal(plain["cost"])
        return cls(**{**plain, "outputs": outputs, "calls": calls, "cost": cost})

    def __str__(self) -> str:
        from sage.kernel.ledger.chain import chain  # noqa: PLC0415 - only when it is shown

        return chain(self)


@contextmanager
def reading(path: Path) -> Iterator[Ledger]:
    """A ledger to read; one that this process has open already is shared."""
    if not path.exists():
        raise NotFoundError(f"there is no ledger {str(path)!r}: nothing was recorded there")
    ledger = Ledger.open(path)
    try:
        ledger.drain()
        yield ledger
    finally:
        ledger.close()


def cost(path: Path, run: str, by: str = "operator") -> CostReport:
    """What a run cost, exactly.

    Args:
        path: The ledger.
        run: Id of the run.
        by: ``operator``, ``model`` or ``item`` (the record that came from the source).

    Raises:
        NotFoundError: There is no such ledger or run.
    """
    if by not in BY:
        raise JobError(f"cost: by must be one of {', '.join(BY)}, got {by!r}")
    sums: dict[str, dict[str, Any]] = {}
    unpriced: dict[str, int] = {}
    with reading(path) as ledger:
        _check(ledger, run)
        rows = ledger.query(_CALLS + "WHERE steps.run = ? AND calls.kind <> 'clock'", (run,))
    for row in rows:
        call = _call(row)
        key = {
            "operator": call.step,
            "model": call.model or call.kind,
            "item": root_of(call.record),
        }
        for name in (key[by], ""):
            _add(sums.setdefault(name, dict.fromkeys(_SUMMED, 0)), call)
        if _is_unpriced(call):
            what = f"{call.provider or '?'} {call.model or call.kind}"
            unpriced[what] = unpriced.get(what, 0) + 1
    total = CostLine(key="total", **sums.pop("", {}))
    lines = [CostLine(key=key, **found) for key, found in sums.items()]
    lines.sort(key=lambda line: (-line.cost, -line.calls, line.key))
    return CostReport(run=run, by=by, lines=tuple(lines), total=total, unpriced=unpriced)


def outputs(path: Path, run: str, status: str | None = None) -> list[OutputFacts]:
    """The items that reached a sink or were lost, oldest first.

    An item that made the run fail, and that the run then got through with, is not lost.

    Raises:
        NotFoundError: There is no such ledger or run.
    """
    with reading(path) as ledger:
        _check(ledger, run)
        rows = ledger.query(
            f"{_OUTPUTS} WHERE steps.run = ? ORDER BY outputs.at, outputs.record", (run,)
        )
        last = {(row[0], row[2], row[6]): row for row in rows}  # of changed code the last
        ends = {row[0]: row[4] for row in rows}
        for key, row in list(last.items()):
            if row[3] == "failed" and ends[row[0]] > row[4]:  # the run went on with the item
                del last[key]
        return [_output(row, ledger) for row in last.values() if status is None or row[3] == status]


def why(path: Path, run: str, record: str) -> Why:
    """Where an item came from and what was paid for it.

    Args:
        path: The ledger.
        run: Id of the run.
        record: Its record id, as ``outputs`` lists it.

    Raises:
        NotFoundError: There is no such ledger, run or item; names the nearest ones.
    """
    with reading(path) as ledger:
        _check(ledger, run)
        found = ledger.query(
            f"{_OUTPUTS} WHERE steps.run = ? AND outputs.record = ? ORDER BY outputs.at",
            (run, record),
        )
        ids = lineage_of(record)
        marks = ",".join("?" * len(ids))
        rows = ledger.query(
            f"{_CALLS} WHERE steps.run = ? AND calls.record IN ({marks}) "
            "AND calls.kind <> 'clock' ORDER BY calls.id",
            (run, *ids),
        )
        if not found and not rows:
            known = [
                row[0]
                for row in ledger.query(
                    "SELECT DISTINCT record FROM outputs JOIN steps ON steps.id = outputs.step "
                    "WHERE steps.run = ? LIMIT 10000",
                    (run,),
                )
            ]
            near = get_close_matches(record, known, 3) or known[:3]
            raise NotFoundError(
                f"run {run!r} has no item {record!r}; "
                + (f"nearest: {', '.join(near)}" if near else "it has no outputs yet")
            )
        items = tuple(_output(row, ledger) for row in found)
    calls = tuple(_call(row) for row in rows)
    return Why(
        run=run,
        record=record,
        outputs=items,
        calls=calls,
        cost=sum((call.cost for call in calls if call.cost is not None), Decimal(0)),
        unpriced=sum(map(_is_unpriced, calls)),
    )


def money(amount: Decimal) -> str:
    """An amount in USD: all its decimals, at least two, never in scientific notation."""
    whole, _, cents = format(amount, "f").partition(".")
    return f"{whole}.{cents.rstrip('0').ljust(2, '0')}"


_CALLS: Final = (
    "SELECT steps.name, calls.record, calls.kind, calls.provider, calls.model, "
    "calls.input_tokens, calls.output_tokens, calls.cached_tokens, calls.cost, calls.started, "
    "calls.latency, calls.retries, calls.error, calls.source "
    "FROM calls JOIN steps ON steps.id = calls.step "
)
_OUTPUTS: Final = (
    "SELECT outputs.record, steps.name, steps.uid, outputs.status, outputs.at, outputs.facts, "
    "outputs.nth FROM outputs JOIN steps ON steps.id = outputs.step "
)
_SUMMED: Final = tuple(field.name for field in attrs.fields(CostLine) if field.name != "key")


def _call(row: tuple[Any, ...]) -> CallFacts:
    return CallFacts(
        step=row[0],
        record=row[1],
        kind=row[2],
        provider=row[3],
        model=row[4],
        input_tokens=row[5],
        output_tokens=row[6],
        cached_tokens=row[7],
        cost=None if row[8] is None else Decimal(row[8]),
        started=row[9],
        latency=row[10],
        retries=row[11],
        error=row[12],
        hit=row[13] is not None,
    )


def _is_unpriced(call: CallFacts) -> bool:
    return call.cost is None and call.error is None and not call.hit


def _add(total: dict[str, Any], call: CallFacts) -> None:
    if call.hit:
        total["hits"] += 1
        return
    total["failed" if call.error is not None else "calls"] += 1
    total["retries"] += call.retries
    total["input_tokens"] += call.input_tokens or 0
    total["output_tokens"] += call.output_tokens or 0
    total["cached_tokens"] += call.cached_tokens or 0
    total["cost"] += call.cost or Decimal(0)
    total["unpriced"] += _is_unpriced(call)


def _output(row: tuple[Any, ...], ledger: Ledger) -> OutputFacts:
    facts = {} if row[5] is None else unpack(row[5], ledger.payload, "lineage")
    return OutputFacts(
        record=row[0], step=row[1], uid=row[2], status=row[3], at=row[4], facts=facts
    )


def _check(ledger: Ledger, run: str) -> None:
    if not ledger.query("SELECT 1 FROM runs WHERE id = ?", (run,)):
        known = [
            row[0] for row in ledger.query("SELECT id FROM runs ORDER BY created DESC LIMIT 5")
        ]
        raise NotFoundError(
            f"the ledger {str(ledger.path)!r} has no run {run!r} "
            f"(newest: {', '.join(known) or 'none'})"
        )
