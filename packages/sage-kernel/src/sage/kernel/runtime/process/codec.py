"""Bytes of a batch: msgpack when it comes back exactly as it went, else pickle 5.

Pickle is used only between a pool and the workers it started itself, over a socket pair nobody else
has: they run the same user's code anyway. Nothing here is ever stored.
"""

from __future__ import annotations

import pickle
from types import NoneType
from typing import Any, Final

import msgspec

_SCALARS: Final = frozenset({str, int, float, bool, NoneType, bytes})
_STR: Final = frozenset({str})


def survives_msgpack(value: Any) -> bool:
    """Whether msgpack keeps value and types: scalars, lists and dicts with str keys, no subclasses.

    (Tuples would come back as lists, sets, dates and attrs objects as something else.) Integers
    beyond 64 bits and lone surrogates are left to the encoder, which refuses them.
    """
    kind = type(value)
    if kind is dict:
        if not _STR.issuperset(map(type, value)):
            return False
        parts: Any = value.values()
    elif kind is list:
        parts = value
    else:
        return kind in _SCALARS
    if _SCALARS.issuperset(map(type, parts)):
        return True
    return all(type(part) in _SCALARS or survives_msgpack(part) for part in parts)


class Codec:
    """Encodes and decodes payloads.

    Args:
        by_value: Modules that the other process cannot import, beside ``__main__``: classes of
            these travel with their definition.
    """

    def __init__(self, by_value: tuple[str, ...] = ()) -> None:
        self._markers = tuple(name.encode() for name in ("__main__", *by_value))
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder()

    def encode(self, value: Any) -> tuple[bool, bytes]:
        """``(whether it is msgpack, bytes)``; raises whatever pickle raises for the rest."""
        try:
            if survives_msgpack(value):
                return True, self._encoder.encode(value)
        except (OverflowError, UnicodeError, RecursionError):
            pass
        return False, self.pickle(value)

    def decode(self, is_msgpack: bool, data: bytes | bytearray) -> Any:
        """The value again."""
        if is_msgpack:
            return self._decoder.decode(data)
        return pickle.loads(data)  # noqa: S301 - from the other end of our own socket pair

    def pickle(self, value: Any) -> bytes:
        """Pickle by reference; with definitions where the other side has no module to look into."""
        try:
            data = pickle.dumps(value, 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            pass
        else:
            # A class of __main__ pickles by a name that means something else over there. A text
            # that contains the marker only costs the slower way.
            if not any(marker in data for marker in self._markers):
                return data
        import cloudpickle  # noqa: PLC0415 - 20 ms, rarely needed

        return cloudpickle.dumps(value, 5)  # type: ignore[no-any-return]
