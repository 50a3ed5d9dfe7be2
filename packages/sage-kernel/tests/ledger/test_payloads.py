from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.payloads import Blobs, digest_of, pack, unpack
from sage.kernel.state.codec import encode


class Pieces:
    """Stored pieces, each once, and which of them were asked for."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.fetched: set[bytes] = set()

    def put(self, value: Any) -> bytes:
        blobs: Blobs = []
        stored = pack(value, "a test", blobs)
        self.data.update(blobs)
        return stored

    def get(self, stored: bytes) -> Any:
        return unpack(stored, self._fetch, "a test")

    def _fetch(self, digest: bytes) -> bytes:
        self.fetched.add(digest)
        return self.data[digest]

    @property
    def size(self) -> int:
        return sum(map(len, self.data.values()))


@attrs.frozen
class Turn:
    role: str
    text: str
    more: tuple[str, ...] = ()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.text(min_size=250, max_size=600)
    | st.binary(max_size=20)
    | st.binary(min_size=250, max_size=400)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=40)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=6)
        | st.builds(Turn, st.text(max_size=400), st.text(max_size=400))
    ),
    max_leaves=60,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    pieces = Pieces()
    stored = pieces.put(value)
    assert pieces.get(stored) == value
    assert pieces.fetched == set(pieces.data), "nothing is stored that is not needed"
    assert pack(value, "a test", []) == stored
    assert all(digest_of(data) == digest for digest, data in pieces.data.items())


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63, 64, 65, 200, 1000])
def test_lists_of_any_length(count: int) -> None:
    pieces = Pieces()
    value = [{"role": "user", "content": f"{n} " * 200} for n in range(count)]
    assert pieces.get(pieces.put(value)) == value


def test_arrays_keep_type_and_shape() -> None:
    pieces = Pieces()
    value = np.arange(1536, dtype=np.float32)
    back = pieces.get(pieces.put({"vector": value}))["vector"]
    assert back.dtype == np.float32
    assert np.array_equal(back, value)


def test_a_history_that_grows_costs_what_was_added() -> None:
    pieces = Pieces()
    history: list[dict[str, str]] = []
    kept = unique = 0
    for step in range(200):
        text = f"{step:04d}" * 512
        unique += len(text)
        history.append({"role": "assistant" if step % 2 else "user", "content": text})
        kept += len(pieces.put({"model": "m", "messages": history}))
        kept += len(pieces.put({"text": text, "finish_reason": "stop"}))
    assert (pieces.size + kept) / unique < 1.2
    assert pieces.get(pieces.put({"messages": history})) == {"messages": history}


def test_equal_content_is_stored_once() -> None:
    pieces = Pieces()
    text = "an answer " * 100
    first = pieces.put({"text": text})
    before = pieces.size
    assert pieces.put({"text": text}) == first
    pieces.put(["another value", text])
    assert pieces.size - before == 0
    assert pieces.put("yes")[1:] == encode("yes", "a test"), "short values need no piece"


def test_damage_is_noticed() -> None:
    pieces = Pieces()
    stored = pieces.put("x" * 1000)
    with pytest.raises(LedgerError, match="damaged"):
        unpack(stored, lambda digest: b"?" + pieces.data[digest][1:], "a test")
