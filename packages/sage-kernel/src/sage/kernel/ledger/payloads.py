"""How requests and responses are stored: each piece of content once.

A value is encoded by the state codec (msgpack). From these bytes long texts and byte strings are
taken out, and long lists in blocks of eight, and stored under their digest; in their place stays a
reference. A chat history that grows by a message per call thus costs one message per call, and a
reply that comes back in the next request costs nothing.

Pure. Predecessor: ``sage.kernel.state.codec``; successor: ``sage.kernel.ledger.store``.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from sage.kernel.ledger.errors import LedgerError
from sage.kernel.state.codec import decode, encode

LONG: Final = 256
"""Bytes from which on a text, or what is left of a value, is stored by content."""
BLOCK: Final = 8
"""Elements of a list that are stored together."""
DIGEST_SIZE: Final = 16

_LEAF: Final = 100
_ELEMENTS: Final = 101
_PLAIN, _WITH_REFERENCES, _STORED = b"\0", b"\1", b"\2"
_TEXT, _BYTES, _LIST, _VALUE = b"s", b"b", b"l", b"v"

_TAKEN: Final = frozenset((dict, list, str, bytes))
_NUMBERS: Final = frozenset((int, float, bool))

_Ext = msgspec.msgpack.Ext
_to_bytes = msgspec.msgpack.Encoder().encode
_from_bytes = msgspec.msgpack.Decoder().decode

Blobs = list[tuple[bytes, bytes]]
"""``(digest, data)`` of pieces to be stored."""


def digest_of(data: bytes) -> bytes:
    """The name of a piece."""
    return blake2b(data, digest_size=DIGEST_SIZE).digest()


def encode_value(value: Any, where: str) -> bytes:
    """The bytes of a request or response.

    Raises:
        StateEncodingError: A part of it is of a type that cannot be stored.
    """
    return encode(value, where)


def pack(data: bytes, blobs: Blobs) -> bytes:
    """What the database keeps of encoded bytes; pieces to be stored are added to ``blobs``."""
    if len(data) < LONG:
        return _PLAIN + data
    before = len(blobs)
    tree = _take_out(_from_bytes(data), blobs)
    stored = _PLAIN + data if len(blobs) == before else _WITH_REFERENCES + _to_bytes(tree)
    if len(stored) < LONG:
        return stored
    return _STORED + _store(_VALUE + stored, blobs)


def unpack(stored: bytes, fetch: Callable[[bytes], bytes], where: str) -> Any:
    """The value that was packed.

    Args:
        stored: What ``pack`` returned.
        fetch: Gives a piece by its digest.
        where: Whose value it is, for messages.
    """
    if stored[:1] == _STORED:
        stored = fetch(stored[1:])[1:]
    data = stored[1:]
    if stored[:1] == _WITH_REFERENCES:
        data = _to_bytes(_put_back(_from_bytes(data), fetch))
    return decode(data, where)


def references(stored: bytes, fetch: Callable[[bytes], bytes]) -> set[bytes]:
    """Digests of all pieces a packed value needs."""
    found: set[bytes] = set()
    if stored[:1] == _STORED:
        found.add(stored[1:])
        stored = fetch(stored[1:])[1:]
    if stored[:1] == _WITH_REFERENCES:

        def noting(digest: bytes) -> bytes:
            found.add(digest)
            return fetch(digest)

        _put_back(_from_bytes(stored[1:]), noting)
    return found


def _store(data: bytes, blobs: Blobs) -> bytes:
    digest = digest_of(data)
    blobs.append((digest, data))
    return digest


def _take_out(node: Any, blobs: Blobs) -> Any:
    """The node with references in place of what is stored; lists and mappings are changed."""
    kind = type(node)
    if kind is dict:
        for key, each in node.items():
            if type(each) in _TAKEN:
                node[key] = _take_out(each, blobs)
    elif kind is list:
        if len(node) > 2 * BLOCK and type(node[-1]) in _NUMBERS:
            return node
        for at, each in enumerate(node):
            if type(each) in _TAKEN:
                node[at] = _take_out(each, blobs)
        while len(node) > 2 * BLOCK:
            node = _in_blocks(node, blobs)
    elif len(node) >= LONG:
        data = _TEXT + node.encode() if kind is str else _BYTES + node
        return _Ext(_LEAF, _store(data, blobs))
    return node


def _in_blocks(elements: list[Any], blobs: Blobs) -> list[Any]:
    """Whole blocks become references; what is left at the end stays as it is."""
    whole = len(elements) - len(elements) % BLOCK
    blocks: list[Any] = [
        _Ext(_ELEMENTS, _store(_LIST + _to_bytes(elements[at : at + BLOCK]), blobs))
        for at in range(0, whole, BLOCK)
    ]
    return blocks + elements[whole:]


def _put_back(node: Any, fetch: Callable[[bytes], bytes]) -> Any:
    kind = type(node)
    if kind is _Ext:
        return _leaf(fetch(bytes(node.data))) if node.code == _LEAF else node
    if kind is dict:
        return {key: _put_back(each, fetch) for key, each in node.items()}
    if kind is list:
        whole: list[Any] = []
        for each in node:
            if type(each) is _Ext and each.code == _ELEMENTS:
                whole.extend(_put_back(_from_bytes(fetch(bytes(each.data))[1:]), fetch))
            else:
                whole.append(_put_back(each, fetch))
        return whole
    return node


def _leaf(data: bytes) -> str | bytes:
    kind, rest = data[:1], data[1:]
    if kind == _TEXT:
        return rest.decode()
    if kind == _BYTES:
        return rest
    raise LedgerError(f"a payload of the ledger begins with {kind!r}: it is damaged")
