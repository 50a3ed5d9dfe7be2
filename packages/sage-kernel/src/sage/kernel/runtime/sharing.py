"""Step instances that several workers or steps use together: opened once, closed by the last.

A step given as an instance (not as a class) is one object for all subtasks. Whoever comes first
opens it while the others wait; it is closed when the last user is done with it.
"""

from __future__ import annotations

import threading
from typing import Any


class Shared:
    """Life cycle of one shared instance.

    Attributes:
        instance: The object; held, so that its ``id`` stays unique.
        lock: Held while it is opened or closed.
        users: Subtasks that have not closed it yet.
        opened: Whether ``open`` succeeded and ``close`` was not called since.
        error: What ``open`` raised, for the users that come later.
    """

    __slots__ = ("error", "instance", "lock", "opened", "users")

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.lock = threading.Lock()
        self.users = 0
        self.opened = False
        self.error: BaseException | None = None

    async def acquire_async(self) -> None:
        """Take the lock without blocking the event loop."""
        if not self.lock.acquire(blocking=False):
            import asyncio  # noqa: PLC0415 - only where async steps run

            await asyncio.get_running_loop().run_in_executor(None, self.lock.acquire)

    def leave(self) -> bool:
        """One user less; whether the caller has to close the instance. The lock must be held."""
        self.users -= 1
        if self.users == 0 and self.opened:
            self.opened = False
            return True
        return False


class Sharing:
    """All shared instances of a job."""

    __slots__ = ("_known", "_lock")

    def __init__(self) -> None:
        self._known: dict[int, Shared] = {}
        self._lock = threading.Lock()

    def join(self, instance: Any) -> Shared:
        """One user more of an instance."""
        with self._lock:
            shared = self._known.get(id(instance))
            if shared is None:
                shared = self._known[id(instance)] = Shared(instance)
            shared.users += 1
            return shared
