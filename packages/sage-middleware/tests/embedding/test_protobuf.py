"""What we write, read back by a small decoder of protobuf's wire format."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sage.middleware.utils.embedding.bert import protobuf


def decode(data: bytes) -> list[tuple[int, Any]]:
    """Fields of a message in order: integers, floats as bytes, or bytes."""
    out: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            out.append((tag >> 3, varint()))
        elif tag & 7 == 5:
            out.append((tag >> 3, data[at : at + 4]))
            at += 4
        else:
            assert tag & 7 == 2
            size = varint()
            assert at + size <= len(data)
            out.append((tag >> 3, data[at : at + size]))
            at += size
    return out


@given(st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(width=32, allow_nan=False))
def test_fields_read_back(number: int, text: str, real: float) -> None:
    inner = protobuf.Message().text(2, text)
    data = protobuf.Message().integer(1, number).message(9, inner).real(3, real).to_bytes()
    fields = decode(data)
    assert fields[0] == (1, number % 2**64)
    assert decode(fields[1][1]) == [(2, text.encode())]
    assert struct.unpack("<f", fields[2][1]) == (real,)


def test_a_tensor_reads_back() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    fields = decode(protobuf.tensor("w", values).to_bytes())
    assert [value for field, value in fields if field == 1] == [3, 2]
    found = dict(fields)
    assert (found[2], found[8]) == (protobuf.FLOAT, b"w")
    np.testing.assert_array_equal(np.frombuffer(found[9], np.float32).reshape(3, 2), values)
    scalar = decode(protobuf.tensor("s", np.array(7, np.int64)).to_bytes())
    assert scalar == [(2, protobuf.INT64), (8, b"s"), (9, (7).to_bytes(8, "little"))]


def test_a_node_reads_back() -> None:
    message = protobuf.node("Op", ["a", ""], ["b"], "com.x", {"i": -1, "f": 0.5, "l": [1, 2]})
    fields = decode(message.to_bytes())
    assert [value for field, value in fields if field == 1] == [b"a", b""]
    assert dict(fields)[4] == b"Op"
    assert dict(fields)[7] == b"com.x"
    attributes = [decode(value) for field, value in fields if field == 5]
    assert attributes[0] == [(1, b"i"), (3, 2**64 - 1), (20, 2)]
    assert attributes[1] == [(1, b"f"), (2, struct.pack("<f", 0.5)), (20, 1)]
    assert attributes[2] == [(1, b"l"), (8, 1), (8, 2), (20, 7)]
