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
from types import NoneType
from typing import Any, Final

import msgspec

from sage.kernel.ledger.errors import PayloadError
from sage.kernel.state._tags import FORMAT
from sage.kernel.state.codec import decode, encode

LONG: Final = 256
"""Bytes from which on a text, or what is left of a value, is stored by content."""
BLOCK: Final = 8
"""Elements of a list that are stored together."""
DIGEST_SIZE: Final = 16
PART: Final = 2047
LARGE: Final = 2**17

_LEAF: Final = 100
_ELEMENTS: Final = 101
_PLAIN, _WITH_REFERENCES, _STORED = b"\0", b"\1", b"\2"
_TEXT, _BYTES, _LIST, _VALUE = b"s", b"b", b"l", b"v"

_Ext = msgspec.msgpack.Ext
_SMALL: Final = frozenset((int, float, bool, NoneType))
_MARK: Final = frozenset((_Ext,))
_to_bytes = msgspec.msgpack.Encoder().encode
_from_bytes = msgspec.msgpack.Decoder().decode

Blobs = list[tuple[bytes, bytes]]
"""``(digest, data)`` of pieces to be stored."""


def digest_of(data: bytes) -> bytes:
    """The name of a piece."""
    size = len(data)
    if size <= PART or size > LARGE:
        return blake2b(data, digest_size=DIGEST_SIZE).digest()
    # In parts for which hashlib keeps the interpreter lock: to get it back takes longer.
    digest = blake2b(data[:PART], digest_size=DIGEST_SIZE)
    for at in range(PART, size, PART):
        digest.update(data[at : at + PART])
    return digest.digest()


def pack(value: Any, where: str, blobs: Blobs) -> bytes:
    """What the database keeps of a value; pieces to be stored are added to ``blobs``.

    Raises:
        StateEncodingError: A part of it is of a type that cannot be stored.
    """
    before = len(blobs)
    try:
        tree = _split(value, blobs)
        kind = _PLAIN if tree is value else _WITH_REFERENCES
        stored = kind + _to_bytes(_document(tree))
    except _FOREIGN:
        del blobs[before:]
        return _pack_bytes(encode(value, where), blobs)
    return _short(stored, blobs)


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
    """Digests of all pieces a packed value needs; arguments as for ``unpack``."""
    found: set[bytes] = set()

    def noting(digest: bytes) -> bytes:
        found.add(digest)
        return fetch(digest)

    if stored[:1] == _STORED:
        stored = noting(stored[1:])[1:]
    if stored[:1] == _WITH_REFERENCES:
        _put_back(_from_bytes(stored[1:]), noting)
    return found


def _document(value: Any) -> tuple[Any, ...]:
    """As the codec writes a value that msgpack knows."""
    return (FORMAT, (), value)


def _short(stored: bytes, blobs: Blobs) -> bytes:
    return stored if len(stored) < LONG else _STORED + _store(_VALUE + stored, blobs)


def _pack_bytes(data: bytes, blobs: Blobs) -> bytes:
    """The same for bytes that the codec made, of values that msgpack does not know."""
    before = len(blobs)
    tree = _split(_from_bytes(data), blobs, _MARK) if len(data) >= LONG else None
    if len(blobs) == before:
        return _short(_PLAIN + data, blobs)
    return _short(_WITH_REFERENCES + _to_bytes(tree), blobs)


def _store(data: bytes, blobs: Blobs) -> bytes:
    digest = digest_of(data)
    blobs.append((digest, data))
    return digest


class _Foreign(Exception):
    """A type that msgpack does not know."""


_FOREIGN: Final = (_Foreign, OverflowError, UnicodeEncodeError, RecursionError)


def _split(node: Any, blobs: Blobs, known: frozenset[type] = frozenset()) -> Any:
    """The tree with references in place of what is stored; what changes is copied.

    Raises:
        _Foreign: A type is neither msgpack's nor ``known``.
    """
    kind = type(node)
    if kind is str:
        return node if len(node) < LONG else _Ext(_LEAF, _store(_TEXT + node.encode(), blobs))
    if kind is dict:
        changed: dict[Any, Any] | None = None
        for key, each in node.items():
            if type(key) is not str and not known:
                raise _Foreign
            what = type(each)
            if what in _SMALL:
                continue
            if what is str:
                if len(each) < LONG:
                    continue
                new = _Ext(_LEAF, _store(_TEXT + each.encode(), blobs))
            else:
                new = _split(each, blobs, known)
            if new is not each:
                if changed is None:
                    changed = dict(node)
                changed[key] = new
        return node if changed is None else changed
    if kind is list:
        elements: list[Any] = node
        for at, each in enumerate(node):
            what = type(each)
            if what in _SMALL:
                continue
            if what is str:
                if len(each) < LONG:
                    continue
                new = _Ext(_LEAF, _store(_TEXT + each.encode(), blobs))
            else:
                new = _split(each, blobs, known)
            if new is not each:
                if elements is node:
                    elements = node[:]
                elements[at] = new
        if len(elements) > 2 * BLOCK and type(elements[-1]) not in _SMALL:
            while len(elements) > 2 * BLOCK:
                elements = _in_blocks(elements, blobs)
        return elements
    if kind is bytes:
        return node if len(node) < LONG else _Ext(_LEAF, _store(_BYTES + node, blobs))
    if kind in _SMALL or kind in known:
        return node
    raise _Foreign


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
    raise PayloadError(f"a payload of the ledger begins with {kind!r}: it is damaged")
