"""The registry of services.

Without postponed annotations, see ``system``.
"""

from typing import Any

from sage.common.errors import ConfigError
from sage.common.serving.routing import Router
from sage.kernel.jobmanager.bodies import Ok, ServiceBody, answer, answers
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.model import ServiceInfo
from sage.kernel.jobmanager.routes.replies import reply

_LONGEST = 200


def add_service_routes(routes: Router, manager: JobManager) -> None:
    """Below ``/services``."""
    service = answer(ServiceInfo)

    @routes.get("/services", response_model=answers(ServiceInfo), tags=["services"])
    def services() -> Any:
        """All services, by name."""
        return reply(manager.services.listed())

    @routes.put("/services/{name}", response_model=service, tags=["services"])
    def register(name: str, body: ServiceBody) -> Any:
        """Register a service, or say that it lives still."""
        if not name.isprintable() or len(name) > _LONGEST:
            raise ConfigError(f"a service has a printable name of up to {_LONGEST} characters")
        if body.ttl is not None and body.ttl <= 0:
            raise ConfigError(f"ttl: seconds > 0, got {body.ttl}")
        made = manager.services.register(
            name,
            address=body.address,
            kind=body.kind,
            owner=body.owner,
            metadata=body.metadata,
            ttl=body.ttl,
        )
        return reply(made)

    @routes.delete("/services/{name}", response_model=Ok, tags=["services"])
    def deregister(name: str) -> Any:
        """Remove it from the registry."""
        manager.services.deregister(name)
        return reply({"status": "ok"})
