"""Plain text and Markdown: bytes to characters."""

from __future__ import annotations

import codecs
from typing import Any

from sage.lib.transform.parser.limits import Limits, ParseError, check_chars

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """The encoding that a byte-order mark says."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def parse_text(
    data: bytes, source: str, limits: Limits, encoding: str = "utf-8"
) -> tuple[str, dict[str, Any]]:
    r"""The text, with ``\n`` line ends.

    Raises:
        ParseError: The bytes are no text in this encoding.
    """
    name = marked_encoding(data) or encoding
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise ParseError(
            f"{source}: byte {error.start} is not valid {name}; set encoding to that of the file",
            source=source,
            reason="encoding",
        ) from error
    if "\0" in text:
        raise ParseError(
            f"{source}: has NUL characters, so it is no text file; check its format",
            source=source,
            reason="format",
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    check_chars(len(text), limits, source)
    return text, {}
