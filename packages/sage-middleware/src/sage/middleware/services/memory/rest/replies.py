"""Answers as bytes: JSON by orjson, long lists as JSON lines that are made while they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import orjson

from sage.common.errors import SageError
from sage.middleware.services.memory.rest.failures import status_of, to_wire

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_CHUNK = 64 * 1024


def reply(data: Any, status: int = 200) -> Any:
    """A JSON response."""
    from fastapi import Response

    body = orjson.dumps(data, default=_plain, option=_OPTIONS)
    return Response(body, status, media_type="application/json")


def failure(error: SageError, hide: str = "") -> Any:
    """The response for an error."""
    response = reply(to_wire(error, hide), status_of(error))
    if response.status_code == 503:
        response.headers["Retry-After"] = "1"
    return response


def lines(rows: Iterable[Any]) -> Any:
    """A response of JSON lines."""
    from fastapi.responses import StreamingResponse
    from starlette.background import BackgroundTask  # noqa: PLC0415 - comes with fastapi

    source = iter(rows)
    chunks = _chunks(source)

    def release() -> None:
        """A reader that stopped early leaves both suspended, with the state they read."""
        for iterator in (chunks, source):
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    return StreamingResponse(
        chunks, media_type="application/x-ndjson", background=BackgroundTask(release)
    )


def _chunks(rows: Iterator[Any]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for row in rows:
        parts.append(orjson.dumps(row, default=_plain, option=_OPTIONS) + b"\n")
        size += len(parts[-1])
        if size >= _CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _plain(value: Any) -> Any:
    """What JSON has no word for: bytes as hexadecimal text, sets as lists, values as mappings."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    raise TypeError(f"a {type(value).__name__} is not JSON")
