"""The text of ``job.why``: source → passages → prompt → call → answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sage.kernel.ledger.records import origin_of, root_of

if TYPE_CHECKING:
    from sage.kernel.ledger.report import CallFacts, OutputFacts, Why

WIDTH: Final = 10
TEXT: Final = 160
"""Characters of a text that are shown."""
_SHOWN_ELSEWHERE: Final = frozenset(("source", "question", "passages", "prompt", "answer", "model"))


def chain(why: Why) -> str:
    """The chain as lines of text."""
    lines = [f"{why.record} of run {why.run}"]
    root = root_of(why.record)
    lines += _line("source", f"{origin_of(root)}, record {root.rpartition(':')[2]}")
    facts: Mapping[str, Any] = why.outputs[-1].facts if why.outputs else {}
    if facts.get("source"):
        lines += _line("", _short(facts["source"]))
    if facts.get("question"):
        lines += _line("question", _short(facts["question"]))
    lines += _passages(facts.get("passages") or ())
    prompt = facts.get("prompt")
    if isinstance(prompt, Mapping):
        tokens = prompt.get("tokens")
        version = prompt.get("version") or "without a version"
        lines += _line("prompt", f"{version}" + (f", {tokens} tokens" if tokens else ""))
    for call in why.calls:
        lines += _line("call", " ".join(_call(call)))
    if facts.get("answer") is not None:
        lines += _line("answer", _short(facts["answer"]))
    for name, value in facts.items():
        if name not in _SHOWN_ELSEWHERE:
            lines += _line(name, _short(value))
    for output in why.outputs:
        lines += _line("output", _output(output))
    lines += _line("cost", _cost(why))
    return "\n".join(lines)


def _line(name: str, text: str) -> list[str]:
    return [f"  {name.ljust(WIDTH)}{text}"]


def _passages(passages: Sequence[Any]) -> Iterator[str]:
    for number, passage in enumerate(passages):
        score = passage.get("score")
        shown = "" if score is None else f"  {score:.4g}"
        yield from _line("passages" if number == 0 else "", f"{passage.get('id')}{shown}")


def _call(call: CallFacts) -> Iterator[str]:
    from sage.kernel.ledger.report import money  # noqa: PLC0415 - it shows its values with this module

    what = call.model or call.kind
    yield f"{call.step}: {what}" + (f" at {call.provider}," if call.provider else ",")
    if call.input_tokens is not None or call.output_tokens is not None:
        cached = f" ({call.cached_tokens} cached)" if call.cached_tokens else ""
        yield f"{call.input_tokens or 0}{cached} → {call.output_tokens or 0} tokens,"
    if call.hit:
        yield "answered by an earlier call (nothing paid)"
        return
    if call.error is None:
        yield "price unknown," if call.cost is None else f"{money(call.cost)} USD,"
    yield f"{call.latency:.3g} s"
    if call.retries:
        yield f"after {call.retries} failed attempt{'s' if call.retries > 1 else ''}"
    if call.error is not None:
        yield f"failed: {call.error}"


def _output(output: OutputFacts) -> str:
    at = datetime.fromtimestamp(output.at, UTC).isoformat(timespec="seconds")
    return f"{output.step}: {output.status}, {at}"


def _cost(why: Why) -> str:
    from sage.kernel.ledger.report import money  # noqa: PLC0415 - as above

    known = [f"{money(why.cost)} USD"] if why.cost or not why.unpriced else []
    calls = f"{why.unpriced} call{'s' if why.unpriced > 1 else ''} of unknown price"
    return " and ".join(known + ([calls] if why.unpriced else []))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"
