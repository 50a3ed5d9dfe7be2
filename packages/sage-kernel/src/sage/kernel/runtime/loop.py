"""The event loop of a job: one thread, made when the first async step or service needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any


class JobLoop:
    """An event loop on a thread of its own; uvloop where it is installed.

    Attributes:
        loop: The running loop.
    """

    def __init__(self, name: str) -> None:
        import asyncio  # noqa: PLC0415 - 60 ms, only where async steps run
        import concurrent.futures.thread  # noqa: F401, PLC0415 - before our exit hook

        try:
            import uvloop  # noqa: PLC0415 - optional

            self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        except ImportError:
            self.loop = asyncio.new_event_loop()
        self._asyncio = asyncio
        started = threading.Event()
        self.loop.call_soon(started.set)
        self.thread = threading.Thread(target=self._run, name=f"sage-loop-{name}", daemon=True)
        self.thread.start()
        started.wait()

    def _run(self) -> None:
        self._asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, None], done: Callable[[Any], None]) -> None:
        """Run a coroutine; ``done(future)`` is called on the loop when it ends."""

        def begin() -> None:
            task = self.loop.create_task(coroutine)
            task.add_done_callback(done)

        self.loop.call_soon_threadsafe(begin)

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine from another thread; a future whose ``cancel`` reaches the coroutine."""
        return self._asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """Run a coroutine from another thread and return its result."""
        if threading.current_thread() is self.thread:
            coroutine.close()
            raise RuntimeError("called from the event loop itself: await it instead")
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what is left, end the thread and close the loop."""

        async def finish() -> None:
            mine = self._asyncio.current_task()
            rest = [t for t in self._asyncio.all_tasks() if t is not mine]
            for task in rest:
                task.cancel()
            await self._asyncio.gather(*rest, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()

        if self.loop.is_closed():
            return
        self.run(finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
