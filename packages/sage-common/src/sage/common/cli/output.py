"""How commands talk: results on stdout in a chosen format, everything else on stderr.

``emit`` prints a result as a table for people or as JSON or YAML for programs (a stable contract).
``say``, ``warn`` and ``error`` talk on stderr. ``NO_COLOR``, ``FORCE_COLOR``, ``TERM=dumb`` and
``COLUMNS`` are honoured. Known secret values are masked in all of it.

A command declares ``output: OutputOption = OutputFormat.TABLE`` and, where scripts are expected to
read it, ``as_json: JsonOption = False``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer

from sage.common.cli.exits import ExitCode, exit_code
from sage.common.secrets import redact

__all__ = [
    "ExitCode",
    "JsonOption",
    "OutputFormat",
    "OutputOption",
    "emit",
    "error",
    "exit_code",
    "say",
    "style",
    "table",
    "warn",
]


class OutputFormat(StrEnum):
    """Formats of results."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="Format of the result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for -o json.")]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def emit(
    data: Any,
    output: OutputFormat = OutputFormat.TABLE,
    *,
    columns: Sequence[str] | None = None,
    text: str | None = None,
) -> None:
    """Print a result on stdout.

    Args:
        data: Plain data: a list of mappings (one row each), a mapping, or a value.
        output: The format.
        columns: Keys shown in the table, in order; default: all of the first row.
        text: What people see instead of the table.
    """
    if output is OutputFormat.JSON:
        shown = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    elif output is OutputFormat.YAML:
        import yaml  # noqa: PLC0415 - most results are tables or JSON

        plain = json.loads(json.dumps(data, default=str))
        shown = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip("\n")
    elif text is not None:
        shown = text
    elif isinstance(data, Mapping):
        shown = _pairs(data)
    elif isinstance(data, list | tuple):
        shown = table(data, columns)
    else:
        shown = _cell(data)
    if shown:
        sys.stdout.write(redact(shown) + "\n")


def say(message: str) -> None:
    """Tell the user something that is not the result."""
    sys.stderr.write(redact(message) + "\n")


def warn(message: str) -> None:
    """Tell the user of something that may be wrong; the command goes on."""
    say(f"{style('warning:', 'yellow', sys.stderr)} {message}")


def error(message: str) -> None:
    """Tell the user why the command ends."""
    say(f"{style('error:', 'red', sys.stderr)} {message}")


def style(text: str, name: str, stream: TextIO | None = None) -> str:
    """Colour ``text`` if ``stream`` (default: stdout) is a terminal that wants colours."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if _coloured(stream or sys.stdout) else text


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as aligned columns under a header; cut to the width of a terminal, whole in a pipe."""
    if not rows:
        return ""
    keys = list(columns or rows[0])
    cells = [[_cell(row.get(key)) for key in keys] for row in rows]
    header = [key.replace("_", " ").upper() for key in keys]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = [_line(line, widths, limit) for line in (header, *cells)]
    return "\n".join([style(lines[0], "bold"), *lines[1:]])


def _line(cells: Iterable[str], widths: Sequence[int], limit: int | None) -> str:
    padded = [
        cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
    ]
    line = "  ".join(padded).rstrip()
    if limit is None or _width(line) <= limit:
        return line
    while _width(line) > limit - 1:
        line = line[: -max(1, (_width(line) - limit + 1) // 2)]
    return f"{line}…"


def _pairs(data: Mapping[str, Any]) -> str:
    width = max((_width(str(key)) for key in data), default=0)
    return "\n".join(f"{key!s:<{width}}  {_cell(value)}".rstrip() for key, value in data.items())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(str(value).split())


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
