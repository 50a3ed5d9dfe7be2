"""Which record the running code works on, where frames cannot tell: async and pooled workers.

Workers set ``CURRENT`` per item; child tasks inherit it. Chains of synchronous steps do not set it:
there the position is in the generated code's frame (``Task.record_id``).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol


class Resolver(Protocol):
    """Gives record ids by position; ``sage.kernel.runtime.lineage.Lineage`` is one."""

    def resolve(self, position: int) -> str: ...


class Current:
    """The records a worker has in hand: one, or a whole batch for ``execute_batch``.

    Attributes:
        count: How many they are.
        repeated: Whether the step was called for them before and failed.
        attempts: What the steps have counted for the records so far, by step and position.
    """

    __slots__ = ("_lineage", "_offset", "attempts", "count", "repeated")

    def __init__(
        self, lineage: Resolver | None, offset: int, count: int = 1, *, repeated: bool = False
    ) -> None:
        self._lineage = lineage
        self._offset = offset
        self.count = count
        self.repeated = repeated
        self.attempts: dict[Any, Any] = {}

    def again(self, position: int) -> Current:
        """One of the records, for another attempt."""
        return Current(self._lineage, self._offset + position, repeated=True)

    def record_id(self, position: int = 0) -> str | None:
        """Id of the record, or of the one at ``position`` of the batch."""
        if self._lineage is None:
            return None
        return self._lineage.resolve(self._offset + position)


class Named:
    """Stands in for a lineage where the id is known already."""

    __slots__ = ("_record",)

    def __init__(self, record: str) -> None:
        self._record = record

    def resolve(self, position: int) -> str:
        return self._record


CURRENT: ContextVar[Current | None] = ContextVar("sage_current_record", default=None)
