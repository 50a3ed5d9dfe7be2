"""What is outside of a job and yet goes back with its checkpoints, such as its memory.

A service or a function takes part by ``roll_back(run, checkpoint)``: it takes back what the run has
written since it passed that checkpoint. Writes belong to the ``epoch`` of the step that makes them.

Predecessor: ``sage.kernel.runtime.services``; successor: ``sage.kernel.runtime.durable``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from sage.api.calls import on_behalf
from sage.api.context import RuntimeContext
from sage.kernel.runtime.snapshots import takes_part
from sage.kernel.runtime.task import Task


class PartakingServices:
    """``call`` of a step's services: what they write belongs to the step and its epoch.

    Args:
        services: The registry.
        context: The step's.
        lock: Held while a step begins to take part: no barrier passes it meanwhile.
    """

    def __init__(
        self, services: Any, context: RuntimeContext, lock: AbstractContextManager[Any]
    ) -> None:
        self.__self__ = services
        self._context = context
        self._lock = lock

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        context, services = self._context, self.__self__
        if not context.takes_part and services.takes_part(name):
            with self._lock:
                context.takes_part = True
        with on_behalf(context):
            return services.call(name, *args, **kwargs)


def roll_back(tasks: Iterable[Task], services: Any, run: str, checkpoint: int) -> None:
    """Take back what a run has written outside since a checkpoint; 0: all of it.

    Services are told once each, and so are steps, by their first function.
    """
    if services is not None:
        services.roll_back(run, checkpoint)
    told: set[int] = set()
    for task in tasks:
        for node_id, instances in task.functions.instances.items():
            if node_id not in told:
                told.add(node_id)
                for instance in filter(takes_part, instances):
                    instance.roll_back(run, checkpoint)
