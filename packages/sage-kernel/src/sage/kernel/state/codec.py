"""State as bytes, and back: what checkpoints, savepoints and the ledger store.

``decode(encode(value))`` equals ``value`` with the same types: None, bool, int of any size, float
(NaN, infinities, -0.0), complex, str (lone surrogates too), bytes, bytearray, list, tuple, set,
frozenset, dict (any of these as keys, in order), range, slice; dates, times, time zones, timedelta,
Decimal, UUID, paths; ``collections`` (deque, OrderedDict, Counter, defaultdict of a builtin type);
members of enums; NumPy arrays and scalars; instances of attrs classes, dataclasses, named tuples
and ``msgspec.Struct``. Anything else, other subclasses of plain types among it, is refused; nothing
is pickled. A value is a tree: two references to one object come back as two objects.

Equal values in equal order have equal bytes (sets are sorted), so bytes can be compared by hash.

A class is named ``module:qualname`` and must be loaded when state is read; modules of SAGE itself
are loaded if need be. A class that was moved is found if its old module still has the name. Fields
that the class got since take their default; a field it lost is an error, unless the class has a
class method ``__upgrade_state__(fields: dict) -> dict``, which is given the saved fields whenever
the names of the fields have changed.

Predecessor: ``sage.kernel.state.backend``; successor: ``sage.kernel.checkpoint.store``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sage.kernel.state._decoding import Reader, Unreadable
from sage.kernel.state._encoding import document
from sage.kernel.state._refused import Refused
from sage.kernel.state.annotations import check_annotation
from sage.kernel.state.errors import StateDecodingError, StateEncodingError

__all__ = ["StateDecodingError", "StateEncodingError", "check_annotation", "decode", "encode"]


def encode(value: Any, where: str) -> bytes:
    """The bytes of a value.

    Args:
        value: What to store. It must not change meanwhile.
        where: Whose state it is, for errors: ``"state 'seen' of step 'dedupe'"``.

    Raises:
        StateEncodingError: Something in the value cannot be stored; names it.
    """
    try:
        return document(value)
    except Refused as refused:
        raise StateEncodingError(
            f"{where}: {refused.path} of type {refused.type} {refused.reason}",
            where=where,
            path=refused.path,
            type=refused.type,
        ) from None
    except (ValueError, RecursionError) as exc:  # longer than msgpack can say; a full stack
        raise StateEncodingError(
            f"{where}: the value cannot be encoded: {exc}",
            where=where,
            path="value",
            type=type(value).__qualname__,
        ) from exc


def decode(data: bytes, where: str, allow: Callable[[str], bool] | None = None) -> Any:
    """The value of bytes that ``encode`` made.

    Args:
        data: The bytes. They may come from anybody: at worst they are refused.
        where: Whose state it is, for errors.
        allow: Which modules, beside SAGE's own, may be imported to find a class; none, if not
            given: the graph whose state it is has imported what it uses.

    Raises:
        StateDecodingError: The bytes are damaged, or name what is not there, or not there any more.
    """

    def may_import(module: str) -> bool:
        return module.startswith("sage.") or (allow is not None and allow(module))

    try:
        return Reader(may_import).read(data)
    except Unreadable as exc:
        raise StateDecodingError(f"{where}: {exc}", where=where) from exc.__cause__
    except RecursionError as exc:
        raise StateDecodingError(f"{where}: nested too deeply to be read", where=where) from exc
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        msgspec.MsgspecError,
    ) as exc:
        raise StateDecodingError(
            f"{where}: the bytes are damaged ({type(exc).__name__}: {exc})", where=where
        ) from exc
