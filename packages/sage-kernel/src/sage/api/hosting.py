"""Inside the process of a managed job, ``submit()`` runs the pipeline there.

The process of the job sets ``host``; environments ask for it. Imports nothing: it is loaded with
every environment.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, Self

    class Host(Protocol):
        """Runs the pipelines of a managed job."""

        def submit(self, graph: Any) -> Any:
            """Run a validated graph; returns its job."""


host: Host | None = None
"""Set in the process of a managed job only."""


class FinishedJob:
    """A pipeline that had finished before its program was started again.

    Args:
        job_id: Id of the run.
        name: Name of the environment.
    """

    status = "FINISHED"

    def __init__(self, job_id: str, name: str) -> None:
        self.id = job_id
        self.name = name

    def __str__(self) -> str:
        return self.id

    def done(self) -> bool:
        """Always true."""
        return True

    def wait(self, timeout: float | None = None) -> Self:
        """Nothing to wait for."""
        return self

    result = wait

    def cancel(self, wait: bool = True, timeout: float | None = None) -> bool:
        """It has ended."""
        return True

    def pause(self) -> None:
        """It has ended."""

    def resume(self) -> None:
        """It has ended."""

    def metrics(self) -> dict[str, Any]:
        """Empty: the numbers belong to the attempt that ran it."""
        return {}

    def events(self) -> list[Any]:
        """Empty, likewise."""
        return []

    logs = events
    dead_letters = events
