"""Keys: which are allowed, and the range of those that begin alike."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from sage.middleware.services.memory.errors import InvalidInputError

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def check_key(key: Any) -> str:
    """The key, if it can be one.

    Raises:
        InvalidInputError: Not a string, or one that has no UTF-8 form.
    """
    if type(key) is str and key.isascii():
        return key
    if not isinstance(key, str):
        raise InvalidInputError(f"a key must be a str, got {key!r} of type {type(key).__name__!r}")
    try:
        key.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInputError(f"the key {key!r} is not valid Unicode: {exc.reason}") from exc
    return key


def key_range(prefix: str) -> tuple[str, str | None]:
    """Where keys with a prefix begin and, unless they run to the end, the first key behind them.

    SQLite compares the UTF-8 bytes, which is the order of code points.
    """
    head = prefix.rstrip(chr(_LAST))
    if not head:
        return prefix, None
    after = ord(head[-1]) + 1
    if _SURROGATES[0] <= after <= _SURROGATES[1]:
        after = _SURROGATES[1] + 1
    return prefix, head[:-1] + chr(after)


def key_of(*parts: str) -> str:
    """A key made of parts; no part can reach into another's range."""
    return "/".join(quote(str(part), safe="") for part in parts)


def last_part(key: str) -> str:
    """The last part of such a key."""
    return unquote(key.rpartition("/")[2])
