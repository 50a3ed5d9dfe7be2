"""Frames between a pool and a worker: one byte of kind, eight of length, the payload."""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final

HEADER: Final = Struct("<BQ")

INIT: Final = 1
BATCH: Final = 2
CLOSE: Final = 3
READY: Final = 4
RESULT: Final = 5
FAILED: Final = 6
CLOSED: Final = 7

MSGPACK: Final = 0x40
"""Added to the kind when the payload is msgpack; pickle otherwise."""

_JOINED: Final = 65_536


def send(sock: socket.socket, kind: int, payload: bytes = b"") -> None:
    """Send one frame."""
    header = HEADER.pack(kind, len(payload))
    if len(payload) <= _JOINED:
        sock.sendall(header + payload)
    else:
        sock.sendall(header)
        sock.sendall(payload)


def receive(sock: socket.socket) -> tuple[int, bytearray]:
    """Receive one frame.

    Raises:
        EOFError: The other end is gone.
    """
    kind, length = HEADER.unpack(_exactly(sock, HEADER.size))
    return kind, _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        count = sock.recv_into(view[got:])
        if not count:
            raise EOFError("the other end closed the connection")
        got += count
    return data
