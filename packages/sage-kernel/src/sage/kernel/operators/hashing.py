"""Which subtask a key belongs to: a hash that is the same in every process and on every machine.

Python salts ``hash(str)`` per process, so it cannot partition. Here, as for Python's own hash,
equal keys have equal hashes: ``1``, ``1.0``, ``True`` and ``numpy.int64(1)`` are one key (they
also share one entry of keyed state), ``0.0`` and ``-0.0`` are one, a namedtuple equals its tuple,
and an enum that is a str or an int equals its value. ``"1"`` and ``1`` and ``b"1"`` differ.
"""

from __future__ import annotations

import math
from struct import pack
from typing import Any
from zlib import crc32

from sage.common.errors import GraphError

_BYTES = 0x5BD1E995
_INT = 0x27D4EB2F
_FLOAT = 0x165667B1
_NONE = 0x9E3779B1
_TUPLE = 0x85EBCA77
"""Start values that keep keys of different types apart; any odd constants would do."""


def stable_hash(key: Any) -> int:
    """A number in ``[0, 2**32)`` that depends on the value of ``key`` only.

    Args:
        key: A str, bytes, int, float, bool, None, or a tuple of these.

    Raises:
        GraphError: The key is of another type.
    """
    if type(key) is str:
        try:
            return crc32(key.encode())
        except UnicodeEncodeError:
            return crc32(key.encode("utf-8", "surrogatepass"))
    return _hash_other(key)


def partition(key: Any, n: int) -> int:
    """The subtask, ``0 <= subtask < n``, that handles ``key``."""
    return stable_hash(key) % n


def _hash_other(key: Any) -> int:
    if isinstance(key, int):
        return crc32(b"%d" % key, _INT)
    if isinstance(key, str):
        return crc32(str.encode(key, "utf-8", "surrogatepass"))
    if isinstance(key, float):
        if math.isfinite(key) and key == math.floor(key):
            return crc32(b"%d" % int(key), _INT)
        return crc32(pack(">d", key), _FLOAT)
    if key is None:
        return _NONE
    if isinstance(key, bytes):
        return crc32(key, _BYTES)
    if isinstance(key, tuple):
        parts = b"".join(stable_hash(part).to_bytes(4, "big") for part in key)
        return crc32(parts, _TUPLE)
    from numbers import Integral  # noqa: PLC0415 - rare: NumPy integers register as these

    if isinstance(key, Integral):
        return crc32(b"%d" % int(key), _INT)
    raise GraphError(
        f"cannot partition by the key {_short(key)} of type {type(key).__name__!r}; let the "
        "function given to key_by return str, bytes, int, float, bool, None or a tuple of these "
        "(for example str(key))",
        key_type=type(key).__name__,
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
