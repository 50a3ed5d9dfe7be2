from __future__ import annotations

import stat
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sage.api.calls import CallInfo, CallUsage
from sage.common.errors import JobError, NotFoundError
from sage.kernel.ledger import report
from sage.kernel.ledger.errors import PayloadError
from sage.kernel.ledger.report import money
from sage.kernel.ledger.run import RunLedger

Open = Callable[..., RunLedger]
INFO = CallInfo(
    kind="model",
    provider="api.openai.com",
    model="gpt-4o-mini",
    usage=lambda r: CallUsage(1000, 100, 200, retries=2) if isinstance(r, str) else None,
)


def ask(text: str) -> str:
    return text.upper()


def test_cost_by_everything(open_: Open, make_step: Any, path: Path) -> None:
    run = open_()
    step, other = make_step(run, "step"), make_step(run, "other")
    for n in range(3):
        step.record = f"source:{n}"
        step.ctx.call(ask, "a", call_info=INFO)
        other.record = f"source:{n}/1"
        other.ctx.call(ask, "b")
    other.ctx.now()
    with pytest.raises(ZeroDivisionError):
        other.ctx.call(lambda: 1 / 0)
    one = (800 * Decimal("0.15") + 200 * Decimal("0.075") + 100 * Decimal("0.6")) / 1_000_000

    by = report.cost(path, run.id)
    assert [(line.key, line.calls, line.failed) for line in by.lines] == [
        ("step", 3, 0),
        ("other", 3, 1),
    ]
    assert by.lines[0].cost == by.total.cost == 3 * one
    assert (by.total.input_tokens, by.total.output_tokens, by.total.cached_tokens) == (
        3000,
        300,
        600,
    )
    assert (by.total.retries, by.total.unpriced) == (6, 3)
    assert by.unpriced == {"? call": 3}
    assert [line.key for line in report.cost(path, run.id, "model").lines] == [
        "gpt-4o-mini",
        "call",
    ]
    items = report.cost(path, run.id, "item").lines
    assert {line.key: line.calls for line in items} == {f"source:{n}": 2 for n in range(3)}
    text = str(by)
    assert text.splitlines()[0].split() == [
        "operator",
        "calls",
        "hits",
        "failed",
        "tokens",
        "in",
        "tokens",
        "out",
        "USD",
    ]
    assert "price unknown: ? call (3 calls)" in text
    spent = [line.split()[6:] for line in text.splitlines()[1:4]]
    known = report.money(3 * one)
    assert spent == [[known], ["3", "unknown"], [known, "+", "3", "unknown"]]
    assert by.to_dict()["total"]["cost"] == str(3 * one)
    with pytest.raises(JobError, match="by must be one of"):
        report.cost(path, run.id, "day")


def test_why_shows_the_chain(open_: Open, make_step: Any, path: Path) -> None:
    run = open_()
    step = make_step(run, "generator")
    step.record = "source:7"
    step.ctx.call(ask, "the prompt", call_info=INFO)
    facts = {
        "question": "Why?",
        "passages": [{"id": "d1", "score": 0.75}, {"id": "d2", "score": None}],
        "prompt": {"version": "ab12", "tokens": 300},
        "model": "gpt-4o-mini",
        "answer": "Because " + "so " * 100,
        "scores": {"faithfulness": 1.0},
    }
    run.output(step.calls.step, "source:7/0", "ok", facts)
    why = report.why(path, run.id, "source:7/0")
    assert [call.record for call in why.calls] == ["source:7"]
    assert dict(why.outputs[0].facts) == facts
    lines = str(why).splitlines()
    assert lines[0] == "source:7/0 of run run-1"
    assert [line.split()[0] for line in lines[1:]] == [
        "source",
        "question",
        "passages",
        "d2",
        "prompt",
        "call",
        "answer",
        "scores",
        "output",
        "cost",
    ]
    assert "d1  0.75" in lines[3]
    assert "ab12, 300 tokens" in lines[5]
    assert "after 2 failed attempts" in lines[6]
    assert lines[7].endswith("…")
    assert why.to_dict()["calls"][0]["cost"] == str(why.cost)


@pytest.mark.parametrize(
    ("infos", "cost"),
    [
        ([INFO], "{} USD"),
        ([INFO, None], "{} USD and 1 call of unknown price"),
        ([None, None], "2 calls of unknown price"),
        ([], "0.00 USD"),
    ],
)
def test_an_unknown_price_is_not_zero(
    open_: Open, make_step: Any, path: Path, infos: list[Any], cost: str
) -> None:
    run = open_()
    step = make_step(run)
    for at, info in enumerate(infos):
        step.ctx.call(ask, str(at), call_info=info)
    run.output(step.calls.step, "source:0", "ok", {})
    why = report.why(path, run.id, "source:0")
    last = str(why).splitlines()[-1].split(maxsplit=1)
    assert last == ["cost", cost.format(report.money(why.cost))]


def test_what_is_not_there(open_: Open, path: Path, tmp_path: Path) -> None:
    run = open_()
    with pytest.raises(NotFoundError, match="nothing was recorded there"):
        report.cost(tmp_path / "nowhere.sqlite", "run-1")
    with pytest.raises(NotFoundError, match=r"has no run 'run-2' \(newest: run-1\)"):
        report.outputs(path, "run-2")
    with pytest.raises(NotFoundError, match="it has no outputs yet"):
        report.why(path, run.id, "source:1")


def test_the_last_word_about_an_item(open_: Open, make_step: Any, path: Path) -> None:
    run = open_()
    step = make_step(run, "sink").calls.step
    middle = make_step(run, "middle").calls.step
    run.output(middle, "source:1", "failed", {"error": "no"})
    run.output(middle, "source:1", "dead_letter", {"error": "lost here"}, nth=1)
    run.output(step, "source:1", "ok", {"item": "1"})
    changed = make_step(run, "sink", version="w").calls.step
    assert changed != step
    run.output(changed, "source:1", "ok", {"item": "one"})
    run.output(changed, "source:1", "ok", {"item": "another"}, nth=1)
    run.output(changed, None, "ok", {})
    found = report.outputs(path, run.id)
    assert [(o.step, o.status, o.facts.get("item")) for o in found] == [
        ("middle", "dead_letter", None),
        ("sink", "ok", "one"),
        ("sink", "ok", "another"),
    ]
    assert report.outputs(path, run.id, "failed") == []


def test_rows_that_nobody_waits_for_follow_by_themselves(
    open_: Open, make_step: Any, path: Path
) -> None:
    run = open_()
    run.output(make_step(run).calls.step, "source:1", "ok")
    while run.store.waiting() or run.store.taken:
        time.sleep(0.01)
    assert run.store.query("SELECT record FROM outputs") == [("source:1",)]


def test_files_are_the_owners_own(open_: Open, make_step: Any, path: Path) -> None:
    make_step(open_()).ctx.call(ask, "a secret " * 100)
    for name in ("ledger.sqlite", "ledger.journal", "ledger.sqlite-wal"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name


def test_a_damaged_response_is_asked_for_again(
    open_: Open, make_step: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def long(text: str) -> str:
        made.append(text)
        return text * 1000

    run = open_()
    first = make_step(run).ctx.call(long, "abc")
    run.store.drain()
    file = path.with_name("ledger.journal")
    file.write_bytes(file.read_bytes().replace(b"abc" * 100, b"xyz" * 100))
    with pytest.raises(PayloadError, match="is damaged"):
        make_step(open_(mode="replay")).ctx.call(long, "abc")
    assert make_step(open_()).ctx.call(long, "abc") == first
    assert made == ["abc", "abc"]
    assert "a call is made again" in caplog.text
    # The copy that was written then takes the place of the damaged one: nobody pays a third time.
    assert make_step(open_()).ctx.call(long, "abc") == first
    assert make_step(open_(mode="replay")).ctx.call(long, "abc") == first
    assert made == ["abc", "abc"]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_damaged_payload_is_mended_for_other_processes_too(
    open_: Open, make_step: Any, path: Path, indexed: bool
) -> None:
    run = open_()
    first = make_step(run).ctx.call(ask, "abc " * 100)
    run.store.drain()
    if indexed:  # otherwise its place is only noted with its call
        run.close()
    again = open_()
    file = path.with_name("ledger.journal")
    file.write_bytes(file.read_bytes().replace(b"ABC " * 50, b"XYZ " * 50))
    assert make_step(again).ctx.call(ask, "abc " * 100) == first
    again.close()
    run.close()
    assert make_step(open_(mode="replay")).ctx.call(ask, "abc " * 100) == first


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("0.0000045", "0.0000045"),
        ("1.5", "1.50"),
        ("1E+3", "1000.00"),
        ("2.00", "2.00"),
    ],
)
def test_money(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
