"""What a parser refuses, and how it says so."""

from __future__ import annotations

import attrs

from sage.common.errors import JobError


class ParseError(JobError, ValueError):
    """A file cannot be read. Attributes: ``source`` (its name), ``reason``.

    ``reason``: ``missing``, ``format``, ``encoding``, ``broken``, ``encrypted``, ``empty`` (no text
    in it), ``size``, ``pages``, ``memory``, ``timeout`` or ``crash`` (of the reading process).
    """


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of one file; what exceeds one is refused as a whole, never cut silently.

    Attributes:
        max_bytes: Of the file.
        max_unpacked_bytes: Of what is inside of a compressed file (docx).
        max_pages: Of a PDF file.
        max_chars: Of the text found.
        password: Of an encrypted PDF file; an empty user password needs none.
        skip_tags: HTML elements whose text is left out.
    """

    max_bytes: int = 64_000_000
    max_unpacked_bytes: int = 256_000_000
    max_pages: int = 5_000
    max_chars: int = 20_000_000
    password: str = ""
    skip_tags: tuple[str, ...] = ("nav", "footer")


def check_chars(count: int, limits: Limits, source: str) -> None:
    """Refuse a text that is too long.

    Raises:
        ParseError: With the reason ``size``.
    """
    if count > limits.max_chars:
        raise ParseError(
            f"{source}: more than {limits.max_chars:,} characters of text; raise max_chars if "
            "that is meant",
            source=source,
            reason="size",
        )
