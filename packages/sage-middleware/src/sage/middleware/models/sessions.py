"""One HTTP session per running event loop, so that one client works on any number of loops."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable

import aiohttp


class LoopSessions:
    """Opens a session on the first request of each event loop and closes it with the loop.

    Each session lives inside an async generator: ``loop.shutdown_asyncgens()``, which
    ``asyncio.run`` calls at its end, closes it, so a client left behind by a finished loop
    neither leaks sockets nor breaks the next loop.

    Args:
        make: Makes a session on the running loop.
    """

    def __init__(self, make: Callable[[], aiohttp.ClientSession]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._open: dict[
            asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[None, None]]
        ] = {}

    async def get(self) -> aiohttp.ClientSession:
        """The session of the running loop."""
        loop = asyncio.get_running_loop()
        entry = self._open.get(loop)
        if entry is not None and not entry[0].closed:
            return entry[0]
        with self._lock:
            for old in [known for known in self._open if known.is_closed()]:
                _finish(self._open.pop(old)[0])
        session = self._make()
        lifetime = _lifetime(session)
        self._open[loop] = (session, lifetime)  # before the await: only one session per loop
        await anext(lifetime)
        return session

    async def aclose(self) -> None:
        """Close the session of the running loop."""
        entry = self._open.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            await entry[1].aclose()

    def close(self) -> None:
        """Close all sessions, from any thread; returns when those of other threads are closed."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        with self._lock:
            entries = list(self._open.items())
            self._open.clear()
        for loop, (session, lifetime) in entries:
            if loop is here:
                task = loop.create_task(_close(lifetime))
                _CLOSING.add(task)
                task.add_done_callback(_CLOSING.discard)
            elif loop.is_running():
                with contextlib.suppress(RuntimeError, TimeoutError):  # the loop may end meanwhile
                    asyncio.run_coroutine_threadsafe(_close(lifetime), loop).result(timeout=5)
            elif loop.is_closed():
                _finish(session)
            else:
                loop.run_until_complete(_close(lifetime))


# The loop holds its tasks weakly.
_CLOSING: set[asyncio.Task[None]] = set()


async def _lifetime(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


async def _close(lifetime: AsyncGenerator[None, None]) -> None:
    await lifetime.aclose()


def _finish(session: aiohttp.ClientSession) -> None:
    # On a closed loop nothing in close() can wait, so one step runs it to its end.
    with contextlib.suppress(StopIteration, RuntimeError):
        session.close().send(None)
