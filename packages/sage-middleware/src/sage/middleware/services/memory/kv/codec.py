"""Values as bytes: MessagePack keeps ``bytes``, NaN and keys that are not text; JSON does not."""

from __future__ import annotations

from typing import Any

import msgspec

from sage.middleware.services.memory.errors import CollectionDamagedError, InvalidInputError

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode(value: Any) -> bytes:
    """The bytes of a value.

    Args:
        value: ``None``, bool, int (64 bits), float, str, bytes, datetime, and lists and mappings of
            these. Tuples and sets come back as lists; dataclasses, attrs and msgspec classes as
            mappings.

    Raises:
        InvalidInputError: The value, or something in it, is of another type.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
        raise InvalidInputError(
            f"a value of type {type(value).__name__!r} cannot be stored: {exc}; "
            "use None, bool, int, float, str, bytes, datetime, lists and mappings of these"
        ) from exc


def decode(data: bytes) -> Any:
    """The value of its bytes."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as exc:
        raise CollectionDamagedError(f"a stored value cannot be read: {exc}") from exc
