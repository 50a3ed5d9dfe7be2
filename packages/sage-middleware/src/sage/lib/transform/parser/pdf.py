"""PDF to text, page by page, through pypdf."""

from __future__ import annotations

import io
import logging
from typing import Any

from sage.common.errors import MissingExtraError
from sage.lib.transform.parser.limits import Limits, ParseError, check_chars


def parse_pdf(data: bytes, source: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The text of all pages, a blank line between two.

    The facts have ``pages`` (how many), ``page_offsets`` (the character each page starts at) and
    ``title`` and ``author`` where the file says them.

    Raises:
        ParseError: The file is broken, encrypted, has too many pages or no text at all.
        MissingExtraError: pypdf is not installed.
    """
    try:
        from pypdf import PasswordType, PdfReader
        from pypdf.errors import DependencyError
    except ImportError as error:
        raise MissingExtraError("pypdf", "documents", "reading PDF files") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs what it repairs
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted:
        try:
            opened = reader.decrypt(limits.password) != PasswordType.NOT_DECRYPTED
        except DependencyError as error:
            raise ParseError(
                f"{source}: encrypted in a way that needs the package 'cryptography' (extra "
                "enterprise)",
                source=source,
                reason="encrypted",
            ) from error
        if not opened:
            raise ParseError(
                f"{source}: encrypted, and the password is wrong; set password",
                source=source,
                reason="encrypted",
            )
    count = len(reader.pages)
    if count > limits.max_pages:
        raise ParseError(
            f"{source}: {count:,} pages, more than max_pages {limits.max_pages:,}",
            source=source,
            reason="pages",
        )
    parts: list[str] = []
    offsets: list[int] = []
    length = 0
    for page in reader.pages:
        # Not all fonts say which character a glyph is: pypdf may then give lone surrogates.
        text = page.extract_text().encode("utf-8", "replace").decode("utf-8").strip()
        if parts:
            parts.append("\n\n")
            length += 2
        offsets.append(length)
        parts.append(text)
        length += len(text)
        check_chars(length, limits, source)
    if not any(part.strip() for part in parts):
        raise ParseError(
            f"{source}: {count} pages without text; scanned pages need OCR first",
            source=source,
            reason="empty",
        )
    facts: dict[str, Any] = {"pages": count, "page_offsets": offsets}
    information = reader.metadata
    for key in ("title", "author"):
        value = getattr(information, key, None)
        if isinstance(value, str) and value.strip():
            facts[key] = value.strip()
    return "".join(parts), facts
