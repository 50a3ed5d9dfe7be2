"""A value that cannot be encoded, and the path to it."""

from __future__ import annotations

from typing import Any

from sage.kernel.state._records import class_name


class Refused(Exception):
    """A value that cannot be encoded; gathers the path to it on its way up."""

    def __init__(self, cls: type, reason: str) -> None:
        self.type = class_name(cls)
        self.reason = reason
        self.steps: list[str] = []
        self.containers: list[int] = []

    def inside(self, container: Any, step: str) -> Refused:
        """The same, seen from the container."""
        if id(container) in self.containers:
            # A value that contains itself is noticed by its depth: name one turn of the circle.
            turn = self.containers.index(id(container))
            self.reason = "contains itself, and state must be a tree"
            self.steps = self.steps[turn + 1 :]
            self.containers = self.containers[turn + 1 :]
        self.steps.append(step)
        self.containers.append(id(container))
        return self

    @property
    def path(self) -> str:
        """From the value down, such as ``value[3].lock``."""
        path = "value" + "".join(reversed(self.steps))
        return path if len(path) <= 300 else f"{path[:140]} ... {path[-140:]}"
