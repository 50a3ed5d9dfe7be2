"""Health, facts and end of the daemon, archives, metrics for Prometheus.

Without postponed annotations: FastAPI reads those of the routes, whose types are imported inside
functions.
"""

from collections.abc import Callable
from typing import Any

from sage.common.serving.routing import Router
from sage.kernel.jobmanager.bodies import Bundle, Ok, ShutdownBody, answer
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.model import DaemonInfo
from sage.kernel.jobmanager.routes.replies import reply
from sage.kernel.observe.prometheus import CONTENT_TYPE, render


def add_health_routes(app: Router, manager: JobManager) -> None:
    """``/healthz``, ``/readyz`` (no token) and ``/metrics``."""
    from fastapi import Response

    @app.get("/healthz", response_model=Ok, tags=["system"])
    def healthz() -> Any:
        """The process runs."""
        return reply({"status": "ok"})

    @app.get("/readyz", response_model=Ok, tags=["system"])
    def readyz() -> Any:
        """The store answers."""
        manager.jobs.counts()
        return reply({"status": "ok"})

    @app.get("/metrics", tags=["system"])
    def metrics() -> Any:
        """OpenMetrics: the daemon, and the steps of each job that runs."""
        jobs = render(*manager.metrics())
        return Response(_daemon(manager) + jobs, media_type=CONTENT_TYPE)


def add_system_routes(routes: Router, manager: JobManager, shutdown: Callable[[str], None]) -> None:
    """The daemon itself, and archives."""
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool

    @routes.get("/status", response_model=answer(DaemonInfo), tags=["system"])
    def status() -> Any:
        """Facts about the daemon."""
        return reply(manager.info())

    @routes.post("/shutdown", response_model=Ok, tags=["system"])
    def end(body: ShutdownBody) -> Any:
        """End the daemon, after this answer."""
        shutdown(body.jobs)
        return reply({"status": "ok"})

    @routes.get("/bundles/{digest}", response_model=Bundle, tags=["jobs"])
    def get_bundle(digest: str) -> Any:
        """Whether an archive is there."""
        return reply({"digest": digest, "size": manager.bundle_size(digest)})

    @routes.put("/bundles/{digest}", response_model=Bundle, tags=["jobs"])
    async def put_bundle(digest: str, request: Request) -> Any:
        """Upload an archive (tar) by its SHA-256."""
        data = await request.body()
        size = await run_in_threadpool(lambda: manager.put_bundle(digest, data))
        return reply({"digest": digest, "size": size})


def _daemon(manager: JobManager) -> str:
    info = manager.info()
    lines = [
        "# TYPE sage_jobmanager_jobs gauge",
        "# HELP sage_jobmanager_jobs Jobs by status.",
        *(f'sage_jobmanager_jobs{{status="{s}"}} {n}' for s, n in sorted(info.jobs.items())),
        "# TYPE sage_jobmanager_processes gauge",
        "# HELP sage_jobmanager_processes Job processes that run.",
        f"sage_jobmanager_processes {info.running}",
        "# TYPE sage_jobmanager_max_processes gauge",
        "# HELP sage_jobmanager_max_processes Job processes that may run at once.",
        f"sage_jobmanager_max_processes {info.max_jobs}",
        "# TYPE sage_jobmanager_start_time_seconds gauge",
        "# UNIT sage_jobmanager_start_time_seconds seconds",
        "# HELP sage_jobmanager_start_time_seconds When the daemon started, Unix time.",
        f"sage_jobmanager_start_time_seconds {info.started!r}",
    ]
    return "\n".join(lines) + "\n"
