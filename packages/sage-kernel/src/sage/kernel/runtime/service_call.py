"""Mechanics of a service call: time limits, awaitables, signatures, suggestions."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sage.common.errors import ServiceError

_CO_COROUTINE: Final = 0x80


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` only makes a coroutine."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and bool(code.co_flags & _CO_COROUTINE)


def required_parameters(function: Callable[..., Any]) -> int:
    """How many positional arguments a bound method or function cannot do without.

    Callables without Python code (built-ins) count as needing none. ``inspect`` would know more,
    but costs a job that has services 10 ms at its start.
    """
    plain = getattr(function, "__func__", function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return 0
    bound = 1 if plain is not function else 0
    return max(0, int(code.co_argcount) - bound - len(plain.__defaults__ or ()))


def running_loop() -> Any:
    """The event loop that runs in this thread, or ``None``; without importing asyncio for it."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


async def bounded(
    awaitable: Any, seconds: float | None, too_late: Callable[[], ServiceError] | None
) -> Any:
    """Await with a time limit; ``too_late`` makes the error."""
    if seconds is None or too_late is None:
        return await awaitable
    import asyncio  # noqa: PLC0415 - who is here has it loaded

    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if limit.expired():
            raise too_late() from error
        raise


class _CallTimeout(TimeoutError):
    """The time limit of a call in a thread; tells it from a ``TimeoutError`` of the service."""

    _sage_call_timeout = True


def call_with_timeout(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    seconds: float,
) -> Any:
    """Call in a thread of its own and wait at most ``seconds``.

    The thread is a daemon, so a call that never returns does not keep the process alive.

    Raises:
        TimeoutError: The time is over; the call goes on, its result is thrown away.
    """
    from contextvars import copy_context  # noqa: PLC0415

    result: list[Any] = []
    failure: list[BaseException] = []
    context = copy_context()
    done = threading.Lock()
    done.acquire()

    def run() -> None:
        try:
            result.append(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting caller
            failure.append(error)
        finally:
            done.release()

    threading.Thread(target=run, name="sage-service-call", daemon=True).start()
    if not done.acquire(timeout=seconds):
        raise _CallTimeout
    if failure:
        raise failure[0]
    return result[0]


def unknown_name(
    what: str, name: str, known: Iterable[str], where: str = "", **data: Any
) -> ServiceError:
    """An error about a name that does not exist, with the nearest ones that do."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for the message

    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    have = f" (there is: {', '.join(names)})" if names else f" (no {what} is there)"
    return ServiceError(f"unknown {what} {name!r}{where}{hint}{have}", **{what: name, **data})
