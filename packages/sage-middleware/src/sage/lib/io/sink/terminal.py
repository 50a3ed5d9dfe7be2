"""``TerminalSink``: prints every item as text, JSON or a table row."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_query, to_dict
from sage.lib.contracts import SinkFunction
from sage.lib.io.sink.line import json_bytes
from sage.lib.io.sink.live_text import LiveText
from sage.lib.io.sink.writers import SUFFIXES, Writer, open_writer
from sage.lib.streaming import listen
from sage.lib.types import Answer, Evaluation

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

# Items are untrusted text: escape sequences in them must not reach the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class TerminalSink(SinkFunction[Any]):
    """Prints to standard output, one item at a time, and writes a file too when told to.

    ``text`` shows question, answer, passages with scores, and latency; ``json`` one object per
    line; ``table`` one row per item. With ``file_path`` the items also go to that file (complete
    at any moment, as with ``FileSink``), as ``output_format`` says: ``json`` a JSON array.

    Example:
        >>> stream.sink(TerminalSink, {"output_format": "json"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            output_format: ``text``, ``json``, ``jsonl`` or ``table``.
            file_path: Also write this file. Format: ``json`` and ``jsonl`` as they say; with
                ``text`` and ``table`` by the ending, else text.
            append: Go on after what is in the file.
            passages: How many passages ``text`` shows.
            width: Columns of ``table``; default: those of the terminal.
            stream: Show answers while they are being written, with ``text``; the generator needs
                ``stream`` too.
        """

        output_format: str = attrs.field(
            default="text", validator=attrs.validators.in_(("text", "json", "jsonl", "table"))
        )
        file_path: str | None = None
        append: bool = False
        passages: int = 3
        width: int | None = None
        stream: bool = False

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._writer: Writer | None = None
        self._columns: list[tuple[str, int]] | None = None
        if self.config.stream and self.config.output_format != "text":
            raise ConfigError(
                f"TerminalSink: stream needs output_format text, got {self.config.output_format!r}"
            )
        self._live: LiveText | None = None
        self._stop: Callable[[], None] | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Open the file, if there is one.

        Raises:
            ConfigError: It cannot be written.
        """
        settings = self.config
        if settings.file_path is not None:
            path = Path(settings.file_path).expanduser()
            fmt = settings.output_format
            if fmt not in ("json", "jsonl"):
                fmt = SUFFIXES.get(path.suffix.lower(), "txt")
            self._writer = open_writer(path, fmt, append=settings.append)
        if settings.stream:
            self._live = LiveText(_print, clean)
            self._stop = listen(ctx.job_id, self._live.piece)

    def execute(self, item: Any) -> None:
        """Print one item."""
        if self._live is not None and isinstance(item, Answer | Evaluation):
            plain, passages = to_dict(item), self.config.passages
            whole, rest = render_text(plain, passages), render_details(plain, passages)
            self._live.item(as_query(item), whole, rest)
        else:
            _print(self._text(item) + "\n")
        if self._writer is not None:
            self._writer.write(item)

    def close(self) -> None:
        """Show what still waits, and close the file, if there is one."""
        if self._stop is not None and self._live is not None:
            self._stop()
            self._live.close()
            self._live = self._stop = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _text(self, item: Any) -> str:
        fmt = self.config.output_format
        if fmt in ("json", "jsonl"):
            # JSON escapes the C0 characters itself; the others are escaped without loss.
            return _CONTROL.sub(
                lambda found: f"\\u{ord(found[0]):04x}", json_bytes(item).decode("utf-8", "replace")
            )
        if fmt == "table":
            return self._row(to_dict(item))
        return render_text(to_dict(item), self.config.passages)

    def _row(self, item: Any) -> str:
        row = item if isinstance(item, Mapping) else {"value": item}
        head = ""
        if self._columns is None:
            width = self.config.width or shutil.get_terminal_size().columns
            self._columns = _columns(row, width)
            head = _line([name for name, _ in self._columns], self._columns)
            head += "\n" + _line(["-" * size for _, size in self._columns], self._columns) + "\n"
        return head + _line([_cell(row, name) for name, _ in self._columns], self._columns)


def render_text(item: Any, passages: int = 3) -> str:
    """A few readable lines about an item; control characters become U+FFFD."""
    if not isinstance(item, Mapping) or "question" not in item:
        return clean(item if isinstance(item, str) else json_bytes(item).decode())
    lines = [f"Question: {item['question']}", *_passages(item, passages)]
    if "answer" in item:
        lines += [f"Answer:   {item['answer']}", _facts(item)]
    return clean("\n".join(lines))


def render_details(item: Any, passages: int = 3) -> str:
    """The lines about an answer that go under it."""
    return clean("\n".join([*_passages(item, passages), _facts(item)]))


def _passages(item: Mapping[str, Any], count: int) -> list[str]:
    lines = []
    for passage in list(item.get("passages") or ())[:count]:
        score = passage.get("score")
        shown = "     -" if score is None else f"{score:6.3f}"
        text = " ".join(passage["text"].split())
        lines.append(f"  [{shown}] {passage['id']}: {text[:100]}{'…' if len(text) > 100 else ''}")
    return lines


def _facts(item: Mapping[str, Any]) -> str:
    facts = [str(item.get("model") or "")]
    if item.get("latency") is not None:
        facts.append(f"{item['latency'] * 1000:.0f} ms")
    usage = item.get("usage") or {}
    if usage.get("output_tokens") is not None:
        facts.append(f"{usage.get('input_tokens')} + {usage['output_tokens']} tokens")
    if item.get("cost"):
        facts.append(f"${item['cost']:.6f}")
    for name, value in (item.get("scores") or {}).items():
        facts.append(f"{name} {'-' if value is None else format(value, '.2f')}")
    return f"          ({', '.join(fact for fact in facts if fact)})"


def _print(text: str) -> None:
    # One write per item, so that lines of several threads do not mix.
    sys.stdout.write(text)
    sys.stdout.flush()


def clean(text: str) -> str:
    """``text`` without control characters other than line feeds and tabs."""
    return _CONTROL.sub("\ufffd", text)


_PREFERRED = (("id", 12), ("question", 3), ("answer", 4), ("scores", 2), ("latency", 9))


def _columns(row: Mapping[str, Any], width: int) -> list[tuple[str, int]]:
    names = [name for name, _ in _PREFERRED if row.get(name) not in (None, "", {}, [])]
    if not {"question", "answer"} & set(names):
        names = [str(name) for name in row]
    fixed = {name: size for name, size in _PREFERRED if size > 8}
    share = {name: size for name, size in _PREFERRED if size <= 8}
    left = max(10, width - sum(fixed.get(n, 0) for n in names) - 2 * (len(names) - 1))
    total = sum(share.get(n, 2) for n in names if n not in fixed) or 1
    return [(n, fixed.get(n) or max(6, left * share.get(n, 2) // total)) for n in names]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "-"
    if name == "latency":
        return f"{value * 1000:.0f} ms"
    if name == "scores":
        return " ".join(f"{k}={'-' if v is None else format(v, '.2f')}" for k, v in value.items())
    return value if isinstance(value, str) else json_bytes(value).decode()


def _line(cells: list[str], columns: list[tuple[str, int]]) -> str:
    shown = []
    for cell, (_, size) in zip(cells, columns, strict=True):
        text = clean(" ".join(cell.split()))
        shown.append((text if len(text) <= size else text[: size - 1] + "…").ljust(size))
    return "  ".join(shown).rstrip()
