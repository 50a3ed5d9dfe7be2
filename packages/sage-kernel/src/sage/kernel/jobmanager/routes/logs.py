"""The output of jobs.

Without postponed annotations, see ``system``.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from sage.common.serving.routing import Router
from sage.kernel.jobmanager import states
from sage.kernel.jobmanager.bodies import Lines
from sage.kernel.jobmanager.logs import LogFollower, read_lines
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.routes.replies import event_stream, follow, reply, sse

_PERIOD = 0.2
"""Seconds between two looks at a log that somebody follows: nobody tells when it grew."""


def add_log_routes(routes: Router, manager: JobManager) -> None:
    """Below ``/jobs/{job_id}/logs``."""

    @routes.get("/jobs/{job_id}/logs", response_model=Lines, tags=["logs"])
    def logs(job_id: str, tail: int | None = None) -> Any:
        """Lines of its output, oldest first; ``tail``: only the last so many."""
        path = manager.home.job(manager.jobs.get(job_id).id).log
        return reply({"lines": read_lines(path, tail)})

    @routes.get("/jobs/{job_id}/logs/stream", tags=["logs"])
    def logs_stream(job_id: str, tail: int | None = None) -> Any:
        """Lines of its output as they come (each a JSON string), until it has ended."""
        return event_stream(_lines(manager, manager.jobs.get(job_id).id, tail))


async def _lines(manager: JobManager, job_id: str, tail: int | None) -> AsyncIterator[bytes]:
    follower = LogFollower(manager.home.job(job_id).log)
    state = {"begun": False, "ended": False}

    def ended() -> bool:
        state["ended"] = manager.jobs.get(job_id).status in states.ENDED
        return state["ended"]

    def read() -> Iterator[bytes]:
        lines = [] if state["begun"] else follower.start(tail)
        state["begun"] = True
        lines += follower.more(last=state["ended"])
        return (sse(line) for line in lines)

    try:
        async for chunk in follow(manager.broker, job_id, read, ended, _PERIOD):
            yield chunk
    finally:
        follower.close()
