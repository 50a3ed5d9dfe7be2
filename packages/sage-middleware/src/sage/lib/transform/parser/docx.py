"""Word files (docx) to text, through python-docx: headings as Markdown, tables as rows."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from sage.common.errors import MissingExtraError
from sage.lib.transform.parser.limits import Limits, ParseError, check_chars

_MAX_MEMBERS = 10_000
_HEADING = re.compile(r"heading ([1-6])$", re.IGNORECASE)


def parse_docx(data: bytes, source: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The text in document order, with ``title`` and ``author`` where the file says them.

    Raises:
        ParseError: The file is broken, or larger inside than ``max_unpacked_bytes``.
        MissingExtraError: python-docx is not installed.
    """
    try:
        import docx
    except ImportError as error:
        raise MissingExtraError("docx", "documents", "reading Word files") from error
    _check_archive(data, source, limits)
    document = docx.Document(io.BytesIO(data))
    lines: list[str] = []
    length = 0
    for line in _lines(document):
        lines.append(line)
        length += len(line) + 2
        check_chars(length, limits, source)
    facts = {
        key: value.strip()
        for key in ("title", "author")
        if (value := getattr(document.core_properties, key) or "").strip()
    }
    return "\n\n".join(lines), facts


def _check_archive(data: bytes, source: str, limits: Limits) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
    # zipfile never gives more bytes of a member than its directory says, so the sum is a bound.
    total = sum(member.file_size for member in members)
    if total > limits.max_unpacked_bytes or len(members) > _MAX_MEMBERS:
        raise ParseError(
            f"{source}: {total:,} bytes in {len(members):,} parts when unpacked, more than "
            f"max_unpacked_bytes {limits.max_unpacked_bytes:,} or {_MAX_MEMBERS:,} parts",
            source=source,
            reason="size",
        )


def _lines(container: Any) -> Iterator[str]:
    """Blocks of a document or cell; the XML parser bounds the depth of nested tables (256)."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            rows = [" | ".join(_row(row)) for row in block.rows]
            table = "\n".join(row for row in rows if row.strip(" |"))
            if table:
                yield table
        elif text := block.text.strip():
            style = block.style.name if block.style is not None else ""
            heading = _HEADING.match(style or "")
            if heading:
                yield "#" * int(heading[1]) + " " + " ".join(text.split())
            elif style == "Title":
                yield "# " + " ".join(text.split())
            else:
                yield f"- {text}" if (style or "").startswith("List") else text


def _row(row: Any) -> Iterator[str]:
    before = None
    for cell in row.cells:
        if cell._tc is before:  # a merged cell is given once per column
            continue
        before = cell._tc
        yield " ".join(" ".join(_lines(cell)).split())
