"""Submitting, listing, steering and removing jobs.

Without postponed annotations, see ``system``.
"""

from typing import Any

from sage.common.errors import ConfigError
from sage.common.serving.routing import Router
from sage.kernel.jobmanager import states
from sage.kernel.jobmanager.bodies import (
    CancelBody,
    CleanupBody,
    ForkBody,
    Ids,
    Ok,
    RequeueBody,
    RestoreBody,
    SavepointBody,
    SavepointPlace,
    answer,
    answers,
)
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.model import JobInfo
from sage.kernel.jobmanager.routes.replies import reply

ACTIVE = "active"


def add_job_routes(routes: Router, manager: JobManager) -> None:
    """Below ``/jobs``."""
    job = answer(JobInfo)

    @routes.get("/jobs", response_model=answers(JobInfo), tags=["jobs"])
    def list_jobs(status: str | None = None, name: str | None = None, limit: int = 100) -> Any:
        """Jobs, newest first; ``status``: states by comma, or ``active``."""
        return reply(manager.jobs.listed(_statuses(status), name, max(0, min(limit, 10_000))))

    @routes.post("/jobs", response_model=job, status_code=201, tags=["jobs"])
    def submit(body: dict[str, Any]) -> Any:
        """Submit a job; see ``sage.kernel.jobmanager.submission.Submission``."""
        return reply(manager.submit(body), 201)

    @routes.post("/jobs/cleanup", response_model=Ids, tags=["jobs"])
    def cleanup(body: CleanupBody) -> Any:
        """Remove jobs that have ended."""
        statuses = _statuses(",".join(body.status))
        ids = manager.cleanup(body.older_than, statuses, dry_run=body.dry_run)
        return reply({"ids": ids})

    @routes.get("/jobs/{job_id}", response_model=job, tags=["jobs"])
    def show(job_id: str) -> Any:
        """One job with its attempts."""
        return reply(manager.describe(job_id))

    @routes.delete("/jobs/{job_id}", response_model=Ok, tags=["jobs"])
    def remove(job_id: str) -> Any:
        """Remove a job that has ended."""
        manager.remove(job_id)
        return reply({"status": "ok"})

    @routes.post("/jobs/{job_id}/cancel", response_model=job, tags=["steering"])
    def cancel(job_id: str, body: CancelBody) -> Any:
        """Cancel it; returns at once."""
        whole = manager.jobs.get(job_id).id
        manager.supervisor.cancel(whole, body.timeout)
        return reply(manager.describe(whole))

    @routes.post("/jobs/{job_id}/pause", response_model=job, tags=["steering"])
    def pause(job_id: str) -> Any:
        """Let its sources wait."""
        return reply(_steer(manager, job_id, "pause"))

    @routes.post("/jobs/{job_id}/resume", response_model=job, tags=["steering"])
    def resume(job_id: str) -> Any:
        """Go on after ``pause``."""
        return reply(_steer(manager, job_id, "resume"))

    @routes.post("/jobs/{job_id}/savepoint", response_model=SavepointPlace, tags=["steering"])
    def savepoint(job_id: str, body: SavepointBody) -> Any:
        """Write a savepoint."""
        return reply({"path": manager.savepoint(job_id, body.name)})

    @routes.post("/jobs/{job_id}/restore", response_model=job, status_code=201, tags=["steering"])
    def restore(job_id: str, body: RestoreBody) -> Any:
        """A new job from a savepoint of this one."""
        made = manager.again(
            job_id, "restore", savepoint=body.savepoint, allow_dropped=body.allow_dropped
        )
        return reply(made, 201)

    @routes.post("/jobs/{job_id}/replay", response_model=job, status_code=201, tags=["steering"])
    def replay(job_id: str) -> Any:
        """A new job that takes every call from the ledger of this one."""
        return reply(manager.again(job_id, "replay"), 201)

    @routes.post("/jobs/{job_id}/fork", response_model=job, status_code=201, tags=["steering"])
    def fork(job_id: str, body: ForkBody) -> Any:
        """A new job that computes a step and what is downstream of it anew."""
        made = manager.again(
            job_id,
            "fork",
            from_operator=body.from_operator,
            changes=body.settings,
            where=body.where,
        )
        return reply(made, 201)

    @routes.post(
        "/jobs/{job_id}/deadletters/requeue",
        response_model=job,
        status_code=201,
        tags=["steering"],
    )
    def requeue(job_id: str, body: RequeueBody) -> Any:
        """A new job that runs only the dead letters of this one."""
        return reply(manager.again(job_id, "requeue", items=body.items), 201)


def _steer(manager: JobManager, job_id: str, method: str) -> JobInfo:
    whole = manager.jobs.get(job_id).id
    manager.supervisor.ask(whole, method, {})
    return manager.describe(whole)


def _statuses(given: str | None) -> list[str]:
    if given is None:
        return []
    if given == ACTIVE:
        return sorted(states.ACTIVE | states.WAITING)
    wanted = [each.strip().upper() for each in given.split(",")]
    unknown = [each for each in wanted if each not in states.JOB_TRANSITIONS]
    if unknown:
        known = ", ".join(states.JOB_TRANSITIONS)
        raise ConfigError(f"status: there is no {unknown[0]!r} (known: active, {known})")
    return wanted
