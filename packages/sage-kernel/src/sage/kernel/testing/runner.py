"""Runs one flow to its end and keeps what it gave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "no_fusion": {"fusion": False},
    "no_inline": {"inline": False},
    "capacity_1": {"fusion": False, "channel_capacity": 1},
    "capacity_2": {"channel_capacity": 2},
}
"""Name -> configuration. What a flow gives must not depend on which of these it runs with."""


class FlowRun:
    """A job that has ended.

    Attributes:
        out: What the sinks of the flow put into the list they were given.
        job: The job's handle.
        error: What ``wait`` raised, or ``None``.
    """

    __slots__ = ("error", "job", "out")

    def __init__(self, out: list[Any], job: Any, error: BaseException | None) -> None:
        self.out = out
        self.job = job
        self.error = error

    def flow(self, kind: str) -> tuple[int, int]:
        """``(in, out)`` of the only step whose name contains ``kind``."""
        found = [
            numbers
            for name, numbers in self.job.metrics()["operators"].items()
            if kind in name.split(":")[0] or name == kind
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} steps match {kind!r}")
        return found[0]["in"], found[0]["out"]


class FlowRunner:
    """Runs ``build(env, out)``, where the sinks of the flow append to the list ``out``.

    Args:
        environment: Makes an environment from a name and a configuration.
        config: Configuration of every flow.
        timeout: Seconds after which a flow counts as hanging.
    """

    def __init__(
        self,
        environment: Callable[..., Any],
        config: Mapping[str, Any] | None = None,
        timeout: float = 20,
    ) -> None:
        self.environment = environment
        self.config = dict(config or {})
        self.timeout = timeout

    def start(
        self, build: Callable[[Any, list[Any]], object], name: str = "flow", **config: Any
    ) -> FlowRun:
        """Submit the flow without waiting for its end."""
        out: list[Any] = []
        env = self.environment(name, {**self.config, **config})
        build(env, out)
        return FlowRun(out, env.submit(), None)

    def __call__(
        self, build: Callable[[Any, list[Any]], object], name: str = "flow", **config: Any
    ) -> FlowRun:
        """Run the flow to its end; a failure is raised."""
        run = self.failing(build, name, **config)
        if run.error is not None:
            raise run.error
        return run

    def failing(
        self, build: Callable[[Any, list[Any]], object], name: str = "flow", **config: Any
    ) -> FlowRun:
        """Run the flow to its end; a failure is kept in ``error``."""
        run = self.start(build, name, **config)
        try:
            run.job.wait(self.timeout)
        except TimeoutError as error:
            if not run.job.done():
                run.job.cancel(wait=False)
                raise
            run.error = error
        except Exception as error:  # noqa: BLE001 - what the test is about
            run.error = error
        return run


def leftovers(seconds: float = 10) -> list[str]:
    """Threads of the engine and child processes that are still there.

    Args:
        seconds: How long a thread that is on its way out may take to end.
    """
    left = []
    for thread in threading.enumerate():
        if thread.name.startswith("sage-"):
            thread.join(seconds)
            if thread.is_alive():
                left.append(f"thread {thread.name}")
    import multiprocessing  # noqa: PLC0415 - only here

    for child in multiprocessing.active_children():
        child.join(seconds)
        if child.is_alive():
            left.append(f"process {child.name}")
    return left
