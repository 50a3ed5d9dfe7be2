"""Answers: JSON, errors, and server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import attrs
import orjson

from sage.common.errors import SageError
from sage.kernel.jobmanager.broker import Broker
from sage.kernel.jobmanager.failures import status_of, to_wire

PING_SECONDS = 10.0
_PING = b": ping\n\n"


def reply(value: Any, status: int = 200) -> Any:
    """JSON of plain data, attrs values or lists of them."""
    from fastapi import Response

    return Response(dumps(value), status, media_type="application/json")


def dumps(value: Any) -> bytes:
    """JSON of plain data, attrs values or lists of them."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # halves of characters, e.g. of a file name: what a job said is still told
        text = json.dumps(value, default=_plain, ensure_ascii=False)
        return text.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    return attrs.asdict(value) if attrs.has(type(value)) else str(value)


def failure(error: SageError) -> Any:
    """The answer to a request that failed."""
    return reply({"error": to_wire(error)}, status_of(error))


def refusal(kind: str, message: str, status: int) -> Any:
    """The answer to a request that is wrong as such."""
    return reply({"error": {"type": kind, "message": message, "data": {}}}, status)


def event_stream(chunks: AsyncIterator[bytes]) -> Any:
    """Server-sent events."""
    from fastapi.responses import StreamingResponse

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)


def sse(value: Any, number: int | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if number is None else b"id: %d\n" % number
    return head + b"data: " + dumps(value) + b"\n\n"


async def follow(
    broker: Broker,
    job_id: str | None,
    read: Callable[[], Iterable[bytes]],
    ended: Callable[[], bool],
    period: float | None = None,
) -> AsyncIterator[bytes]:
    """What ``read`` gives, and again whenever something of the job was stored.

    Args:
        broker: Tells when.
        job_id: The job, ``None`` for all.
        read: Gives what is new since its last call; runs in a thread.
        ended: Whether nothing will come any more; asked before ``read``; runs in a thread.
        period: Seconds after which to look without being told, for what the store does not know.
    """
    changed = broker.subscribe(job_id)
    idle = 0.0
    wait = PING_SECONDS if period is None else period
    try:
        while True:
            changed.clear()
            last = broker.closed or await _in_thread(ended)
            for chunk in await _in_thread(lambda: list(read())):
                idle = 0.0
                yield chunk
            if last:
                return
            try:
                await asyncio.wait_for(changed.wait(), wait)
            except TimeoutError:
                idle += wait
                if idle >= PING_SECONDS:
                    idle = 0.0
                    yield _PING
    finally:
        broker.unsubscribe(changed)


async def _in_thread(work: Callable[[], Any]) -> Any:
    from fastapi.concurrency import run_in_threadpool

    call: Callable[[Callable[[], Any]], Awaitable[Any]] = run_in_threadpool
    return await call(work)
