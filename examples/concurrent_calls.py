"""Calls that wait: an asynchronous step keeps several in flight and delivers in order.

One call fails and is retried; one always fails and is skipped, without losing its neighbours.

Prints::

    call 0 done
    call 1 done
    call 2 done
    call 4 done
    several in flight, at most 4: True
"""

import asyncio

from sage.api import LocalEnvironment, MapFunction


class Call(MapFunction):
    """Stands for calls of a server that sometimes fails."""

    def __init__(self) -> None:
        super().__init__()
        self.in_flight = 0
        self.most = 0
        self.failed: set[int] = set()

    async def execute(self, number: int) -> str:
        """Make one call."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0.01)
            if number == 3 or (number == 1 and number not in self.failed):
                self.failed.add(number)
                raise ConnectionError(f"call {number}")
            return f"call {number} done"
        finally:
            self.in_flight -= 1


call = Call()
env = LocalEnvironment("calls")
(
    env.from_collection(range(5))
    .map(call, concurrency=4, ordered=True, retry=1, on_error="skip")
    .sink(print)
)
env.submit().wait()
print("several in flight, at most 4:", 1 < call.most <= 4)
