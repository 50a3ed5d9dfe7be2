"""The interpreter waits for running jobs at its end.

Task threads are daemons, so that a failed interpreter start-up or ``os._exit`` never hangs on
them. The hook runs before ``concurrent.futures`` forbids new work, because async steps may still
need it.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any

from sage.kernel.runtime.states import FAILED

_running: weakref.WeakSet[Any] = weakref.WeakSet()
_hooked = False


def track(job: Any) -> None:
    """Remember a job until it ends."""
    _running.add(job)
    hook()


def hook(*, again: bool = False) -> None:
    """Register the exit hook, once (``again``: after a library that registered its own)."""
    global _hooked  # noqa: PLW0603 - one hook per process
    if _hooked and not again:
        return
    _hooked = True
    register = getattr(threading, "_register_atexit", None)
    if register is None:
        import atexit  # noqa: PLC0415

        atexit.register(_wait)
    else:
        register(_wait)


def _wait() -> None:
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        cancel_all()  # Ctrl-C hit the program outside of ``wait``
    for job in list(_running):
        try:
            while not job._ended.wait(3600):
                pass
        except KeyboardInterrupt:
            job.cancel()
        if job.status == FAILED and not job._observed:
            job._observed = True
            error = job.failure()
            sys.excepthook(type(error), error, error.__traceback__)


def cancel_all() -> None:
    """Cancel every running job of the process; returns at once."""
    for job in list(_running):
        job.cancel(wait=False)
