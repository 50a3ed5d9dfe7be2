"""Writes ONNX models as protobuf bytes: the few message fields a graph of plain nodes needs.

Field numbers and types. Source: ``onnx.proto`` of the ONNX specification, IR version 9. Tensors are
kept as views until the final join, so that a model of 90 MB is copied once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[np.generic]
Attribute = int | float | str | Sequence[int]

IR_VERSION = 9
FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
_ELEMENTS = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.int32): INT32,
    np.dtype(np.int64): INT64,
}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7


class Message:
    """A protobuf message as a list of byte strings and its total size."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._size = 0

    def integer(self, field: int, value: int) -> Message:
        """Append an ``int32``, ``int64`` or enum field."""
        # Negative numbers are written as 64-bit two's complement, ten bytes long.
        return self._append(_varint(field << 3 | _VARINT) + _varint(value & (2**64 - 1)))

    def real(self, field: int, value: float) -> Message:
        """Append a ``float`` field."""
        return self._append(_varint(field << 3 | _FIXED32) + struct.pack("<f", value))

    def text(self, field: int, value: str) -> Message:
        """Append a ``string`` field."""
        return self.data(field, value.encode())

    def data(self, field: int, value: bytes | memoryview) -> Message:
        """Append a ``bytes`` field; the bytes are not copied before ``to_bytes``."""
        self._append(_varint(field << 3 | _BYTES) + _varint(len(value)))
        return self._append(value)

    def message(self, field: int, value: Message) -> Message:
        """Append a nested message."""
        self._append(_varint(field << 3 | _BYTES) + _varint(value._size))
        self._parts.extend(value._parts)
        self._size += value._size
        return self

    def to_bytes(self) -> bytes:
        """Return the message's bytes."""
        return b"".join(self._parts)

    def _append(self, part: bytes | memoryview) -> Message:
        self._parts.append(part)
        self._size += len(part)
        return self


def tensor(name: str, values: Tensor) -> Message:
    """Encode a ``TensorProto``."""
    out = Message()
    for size in values.shape:
        out.integer(1, size)
    out.integer(2, _ELEMENTS[values.dtype]).text(8, name)
    # ravel: a memoryview of a 0-d or empty array cannot be cast to bytes.
    flat = np.ascontiguousarray(values).ravel()
    return out.data(9, flat.view(np.uint8).data)


def node(
    operator: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    domain: str = "",
    attributes: Mapping[str, Attribute] | None = None,
) -> Message:
    """Encode a ``NodeProto``; an empty input name leaves an optional input out."""
    out = Message()
    for name in inputs:
        out.text(1, name)
    for name in outputs:
        out.text(2, name)
    out.text(4, operator)
    for key, value in (attributes or {}).items():
        out.message(5, _attribute(key, value))
    return out.text(7, domain)


def value_info(name: str, element: int, shape: Iterable[int | str]) -> Message:
    """Encode a ``ValueInfoProto``; a dimension given as text is symbolic."""
    dims = Message()
    for size in shape:
        dim = Message()
        dims.message(1, dim.text(2, size) if isinstance(size, str) else dim.integer(1, size))
    kind = Message().message(1, Message().integer(1, element).message(2, dims))
    return Message().text(1, name).message(2, kind)


def model(
    *,
    nodes: Iterable[Message],
    tensors: Iterable[Message],
    inputs: Iterable[Message],
    outputs: Iterable[Message],
    opsets: Mapping[str, int],
) -> bytes:
    """Encode a ``ModelProto``."""
    graph = Message()
    for one in nodes:
        graph.message(1, one)
    graph.text(2, "sage")
    for field, values in ((5, tensors), (11, inputs), (12, outputs)):
        for one in values:
            graph.message(field, one)
    out = Message().integer(1, IR_VERSION).text(2, "sage").message(7, graph)
    for domain, version in opsets.items():
        out.message(8, Message().text(1, domain).integer(2, version))
    return out.to_bytes()


def _attribute(name: str, value: Attribute) -> Message:
    out = Message().text(1, name)
    if isinstance(value, int):
        return out.integer(3, value).integer(20, _ATTRIBUTE_INT)
    if isinstance(value, float):
        return out.real(2, value).integer(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, str):
        return out.text(4, value).integer(20, _ATTRIBUTE_STRING)
    for number in value:
        out.integer(8, number)
    return out.integer(20, _ATTRIBUTE_INTS)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
