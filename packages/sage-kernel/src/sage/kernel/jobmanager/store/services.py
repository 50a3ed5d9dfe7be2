"""The registry of services: who offers what where, and whether it still says so."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sage.common.errors import NotFoundError
from sage.kernel.jobmanager.model import ServiceInfo
from sage.kernel.jobmanager.store.database import Database


class Services:
    """The table ``services``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        name: str,
        *,
        address: str,
        kind: str,
        owner: str | None,
        metadata: Mapping[str, Any],
        ttl: float | None,
    ) -> ServiceInfo:
        """Register a service, or say that it lives still."""
        now = time.time()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO services (name, address, kind, owner, metadata, registered, seen, ttl)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "address = excluded.address, kind = excluded.kind, owner = excluded.owner, "
                "metadata = excluded.metadata, seen = excluded.seen, ttl = excluded.ttl",
                (name, address, kind, owner, json.dumps(dict(metadata)), now, now, ttl),
            )
        return self.get(name)

    def get(self, name: str) -> ServiceInfo:
        """A service.

        Raises:
            NotFoundError: It is not registered.
        """
        found = [service for service in self.listed() if service.name == name]
        if not found:
            raise NotFoundError(f"there is no service {name!r}", service=name)
        return found[0]

    def listed(self) -> list[ServiceInfo]:
        """All services, by name."""
        now = time.time()
        return [
            ServiceInfo(
                name=row["name"],
                address=row["address"],
                kind=row["kind"],
                owner=row["owner"],
                metadata=json.loads(row["metadata"]),
                registered=row["registered"],
                seen=row["seen"],
                ttl=row["ttl"],
                health=_health(row["seen"], row["ttl"], now),
            )
            for row in self._database.rows("SELECT * FROM services ORDER BY name")
        ]

    def deregister(self, name: str) -> None:
        """Remove a service.

        Raises:
            NotFoundError: It is not registered.
        """
        self.get(name)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM services WHERE name = ?", (name,))

    def deregister_owned(self, owner: str) -> None:
        """Remove the services of a job that has ended."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM services WHERE owner = ?", (owner,))


def _health(seen: float, ttl: float | None, now: float) -> str:
    return "healthy" if ttl is None or now - seen <= ttl else "stale"
