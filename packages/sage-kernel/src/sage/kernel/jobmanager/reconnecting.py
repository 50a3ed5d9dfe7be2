"""A client that outlasts restarts of its JobManager.

Predecessor: ``sage.kernel.jobmanager.client``; successor: ``sage.kernel.jobmanager.transport``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from sage.common.errors import ServiceError, UnreachableError

if TYPE_CHECKING:
    from sage.kernel.jobmanager.client import JobManagerClient

_PATIENCE = 30.0
"""Seconds that a waiting client gives a daemon to come back."""
_RETRY = 0.2

T = TypeVar("T")


def through_restarts(
    client: JobManagerClient,
    job_id: str | None,
    follow: Callable[[], Iterator[T]],
    *,
    again: bool = True,
) -> Iterator[T]:
    """What is followed, until its job has ended.

    Args:
        client: Of the JobManager.
        job_id: The job; ``None`` for all: it never ends.
        follow: Follows, from where it was when it is called again.
        again: Whether it can do that.

    Raises:
        UnreachableError: The daemon ended and does not come back, or what follows is unknown.
    """
    reached = False
    while True:
        try:
            for each in follow():
                reached = True
                yield each
            reached = True
            if job_id is not None and client.job(job_id).done:
                return
            ended = UnreachableError(
                f"the JobManager at {client.address} ended, the job {job_id} may go on"
            )
        except UnreachableError as exc:
            ended = exc
        if not (reached and again and wait_reachable(client, None)):
            raise ended
        time.sleep(_RETRY)  # it is ending, or has just come back


def wait_reachable(client: JobManagerClient, end: float | None) -> bool:
    """Wait while a daemon restarts; whether it is there again.

    Args:
        client: Of the JobManager.
        end: Time (``time.monotonic``) at which to give up; after half a minute in any case.
    """
    limit = time.monotonic() + _PATIENCE
    until = limit if end is None else min(limit, end)
    while time.monotonic() < until:
        try:
            return client.health()
        except ServiceError:
            time.sleep(_RETRY)
    return False
