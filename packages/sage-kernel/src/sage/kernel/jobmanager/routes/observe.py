"""What jobs say: events, metrics, graph, lineage, cost, dead letters.

Without postponed annotations, see ``system``.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from sage.common.serving.routing import Router
from sage.kernel.jobmanager import states
from sage.kernel.jobmanager.bodies import answer, answers
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.model import JobEvent, MetricsSample
from sage.kernel.jobmanager.routes.replies import event_stream, follow, reply, sse

_MOST = 10_000
_LAST = 2**63 - 1
"""Greatest number that the store has."""


def add_event_routes(routes: Router, manager: JobManager) -> None:
    """Events of one job and of all."""
    from fastapi import Header

    @routes.get("/events/stream", tags=["events"])
    def all_events(after: int | None = None, last_event_id: int | None = Header(None)) -> Any:
        """Events of all jobs as they come; default: only new ones."""
        start = last_event_id if after is None else after
        return event_stream(_events(manager, None, start))

    @routes.get("/jobs/{job_id}/events", response_model=answers(JobEvent), tags=["events"])
    def events(job_id: str, after: int = 0, limit: int = 1000) -> Any:
        """Events of a job, oldest first."""
        whole = manager.jobs.get(job_id).id
        return reply(manager.history.events(whole, _known(after), max(0, min(limit, _MOST))))

    @routes.get("/jobs/{job_id}/events/stream", tags=["events"])
    def job_events(
        job_id: str, after: int | None = None, last_event_id: int | None = Header(None)
    ) -> Any:
        """Events of a job as they come, from the first, until it has ended."""
        start = last_event_id if after is None else after
        return event_stream(_events(manager, manager.jobs.get(job_id).id, start or 0))


def add_metrics_routes(routes: Router, manager: JobManager) -> None:
    """Metrics per operator."""
    sample = answer(MetricsSample)

    @routes.get("/jobs/{job_id}/metrics", response_model=sample | None, tags=["metrics"])
    def metrics(job_id: str) -> Any:
        """The newest sample, ``null`` before the first."""
        found = manager.history.samples(manager.jobs.get(job_id).id, limit=1)
        return reply(found[0][1] if found else None)

    @routes.get(
        "/jobs/{job_id}/metrics/history", response_model=answers(MetricsSample), tags=["metrics"]
    )
    def history(job_id: str, since: float = 0.0, limit: int = 1000) -> Any:
        """The newest samples, oldest first."""
        whole = manager.jobs.get(job_id).id
        found = manager.history.samples(whole, since=since, limit=max(0, min(limit, _MOST)))
        return reply([each for _, each in found])

    @routes.get("/jobs/{job_id}/metrics/stream", tags=["metrics"])
    def metrics_stream(job_id: str) -> Any:
        """The newest sample, and those to come, until the job has ended."""
        whole = manager.jobs.get(job_id).id
        at = [0]

        def read() -> Iterator[bytes]:
            found = manager.history.samples(whole, after=at[0], limit=1 if at[0] == 0 else _MOST)
            for number, each in found:
                at[0] = number
                yield sse(each, number)

        return event_stream(follow(manager.broker, whole, read, _ended(manager, whole)))


def add_detail_routes(routes: Router, manager: JobManager) -> None:
    """Graph, lineage, cost and dead letters."""

    @routes.get("/jobs/{job_id}/graph", response_model=dict[str, Any], tags=["details"])
    def graph(job_id: str) -> Any:
        """The logical graph."""
        return reply(manager.graph(job_id))

    @routes.get("/jobs/{job_id}/outputs", response_model=list[dict[str, Any]], tags=["details"])
    def outputs(job_id: str, status: str | None = None) -> Any:
        """Items that reached a sink or were lost, oldest first."""
        return reply(manager.outputs(job_id, status))

    @routes.get("/jobs/{job_id}/why/{item}", response_model=dict[str, Any], tags=["details"])
    def why(job_id: str, item: str) -> Any:
        """Where an item came from and what was paid for it."""
        return reply(manager.why(job_id, item))

    @routes.get("/jobs/{job_id}/cost", response_model=dict[str, Any], tags=["details"])
    def cost(job_id: str, by: str = "operator") -> Any:
        """What it cost, by ``operator``, ``model`` or ``item``."""
        return reply(manager.cost(job_id, by))

    @routes.get("/jobs/{job_id}/deadletters", response_model=list[dict[str, Any]], tags=["details"])
    def dead_letters(job_id: str, limit: int = 100) -> Any:
        """Items that failed for good, newest last."""
        return reply(manager.dead_letters(job_id, max(1, min(limit, _MOST))))


def _events(manager: JobManager, job_id: str | None, after: int | None) -> AsyncIterator[bytes]:
    at = [manager.history.newest_event() if after is None else _known(after)]

    def read() -> Iterator[bytes]:
        while found := manager.history.events(job_id, at[0]):
            for each in found:
                at[0] = each.id
                yield sse(each, each.id)

    ended = _ended(manager, job_id) if job_id is not None else lambda: False
    return follow(manager.broker, job_id, read, ended)


def _known(number: int) -> int:
    """A number of an event, as the store can hold it."""
    return max(0, min(number, _LAST))


def _ended(manager: JobManager, job_id: str) -> Any:
    return lambda: manager.jobs.get(job_id).status in states.ENDED
