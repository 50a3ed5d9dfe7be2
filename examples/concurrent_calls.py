"""Calls that wait: an asynchronous step keeps several in flight and delivers in order.

One call fails and is retried; one always fails and is skipped, without losing its neighbours.

Prints::

    call 0 done
    call 1 done
    call 2 done
    call 4 done
    at most 4 in flight: True
"""

import asyncio

from sage.api import LocalEnvironment

in_flight = 0
most = 0
failed_once: set[int] = set()


async def call(number: int) -> str:
    """Stand for a model call that sometimes fails."""
    global in_flight, most
    in_flight += 1
    most = max(most, in_flight)
    try:
        await asyncio.sleep(0.01)
        if number == 3 or (number == 1 and number not in failed_once):
            failed_once.add(number)
            raise ConnectionError(f"call {number}")
        return f"call {number} done"
    finally:
        in_flight -= 1


env = LocalEnvironment("calls")
(
    env.from_collection(range(5))
    .map(call, concurrency=4, ordered=True, retry=1, on_error="skip")
    .sink(print)
)
env.submit().wait()
print("at most 4 in flight:", 1 < most <= 4)
