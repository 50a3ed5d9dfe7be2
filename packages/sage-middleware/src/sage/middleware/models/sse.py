"""Server-sent events: bytes in, the data of each event out. No I/O.

Source: the "Server-sent events" chapter of the WHATWG HTML standard.
"""

from __future__ import annotations


class EventDecoder:
    """Splits a byte stream into events, whatever the chunk boundaries.

    Args:
        max_bytes: Longest line accepted; a stream without line ends must not fill the memory.
    """

    __slots__ = ("_data", "_max", "_tail")

    def __init__(self, max_bytes: int = 16 * 2**20) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._max = max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The ``data`` of every event that ``chunk`` completes.

        Raises:
            ValueError: A line is longer than ``max_bytes``.
        """
        lines = (self._tail + chunk).split(b"\n")
        self._tail = lines.pop()
        if len(self._tail) > self._max:
            raise ValueError(f"an event line is longer than {self._max} bytes")
        events = []
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data.clear()
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        return events
