"""Where payloads are: noted with the calls they came with, and from time to time in an index.

The index is by digest, so that a transaction would touch a page of it per payload. The last call of
a transaction carries the places of all payloads that are new in it instead; the index takes over
what is noted after the call ``upto`` in one go.

Predecessor: ``sage.kernel.ledger.pieces``; successor: ``sage.kernel.ledger.writer``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final, Protocol

from sage.kernel.ledger.payloads import DIGEST_SIZE

Place = tuple[int, int]
"""Offset in the file of payloads, and bytes."""

_NOTED: Final = Struct(f">{DIGEST_SIZE}sQI")


class Select(Protocol):
    """Runs a SELECT."""

    def __call__(self, sql: str, parameters: Sequence[Any] = (), /) -> Iterable[Any]: ...


def note(places: dict[bytes, Place]) -> bytes:
    """Places as the column ``pieces`` of a call keeps them."""
    return b"".join([_NOTED.pack(digest, *place) for digest, place in places.items()])


def noted(select: Select) -> dict[bytes, Place]:
    """The places that are not in the index yet."""
    rows = select(
        "SELECT pieces FROM calls WHERE id > (SELECT upto FROM indexed) AND pieces IS NOT NULL"
    )
    return {digest: (at, size) for row in rows for digest, at, size in _NOTED.iter_unpack(row[0])}


def to_index(select: Select) -> list[tuple[bytes, int, int]]:
    """Rows of the index for the places that are not in it yet, in its order."""
    return sorted((digest, *place) for digest, place in noted(select).items())


INDEXED: Final = "UPDATE indexed SET upto = (SELECT ifnull(max(id), 0) FROM calls)"
"""All places that are noted are in the index: in the transaction that puts them there."""
