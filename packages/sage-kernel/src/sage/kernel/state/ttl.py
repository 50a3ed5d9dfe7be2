"""Keyed state that expires: each write of a value, element or field starts its time to live anew.

What has expired is never read again. It is removed when it is met, and every access also removes
one or two of the oldest keys that expired, so memory follows the live keys without a timer.
Reading, or changing a value in place, does not prolong its life.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from sage.api.context import RuntimeContext
from sage.kernel.operators.defaults import value_factory
from sage.kernel.operators.keys import check_hashable
from sage.kernel.state.memory import Entries

_SWEPT_PER_ACCESS = 2


class _Expiring:
    """Per key a payload and the deadline of its last write, ordered by that deadline.

    The order holds because the time to live is the same for all and a write moves its key to the
    end; a clock that is set back only delays the removal, as deadlines are checked on every read.
    """

    __slots__ = ("_clock", "_ctx", "_entries", "_ttl")

    kind: ClassVar[str]

    def __init__(self, ctx: RuntimeContext, ttl: float, clock: Callable[[], float]) -> None:
        self._ctx = ctx
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    def _find(self) -> tuple[float, Any | None]:
        """Now, and the payload of the current key if it is alive."""
        now = self._clock()
        self.sweep(now, _SWEPT_PER_ACCESS)
        key = self._ctx.key
        try:
            entry = self._entries.get(key)
        except TypeError:
            check_hashable(self._ctx)
            raise
        if entry is None:
            return now, None
        if entry[0] <= now:
            del self._entries[key]
            return now, None
        return now, entry[1]

    def _store(self, now: float, payload: Any) -> None:
        key = self._ctx.key
        self._entries[key] = (now + self._ttl, payload)
        self._entries.move_to_end(key)

    def clear(self) -> None:
        """Forget the current key."""
        self._entries.pop(self._ctx.key, None)

    def sweep(self, now: float, limit: int | None = None) -> int:
        """Remove keys that have expired, at most ``limit``; return how many."""
        entries, removed = self._entries, 0
        while entries and (limit is None or removed < limit):
            key = next(iter(entries))
            if entries[key][0] > now:
                break
            del entries[key]
            removed += 1
        return removed

    def keys(self) -> Iterator[Any]:
        """Keys that have state."""
        now = self._clock()
        return iter([key for key, (deadline, _) in self._entries.items() if deadline > now])

    def entries(self) -> Entries:
        """Every key and its payload with deadlines, for a snapshot."""
        self.sweep(self._clock())
        return [(key, self._dump(payload)) for key, (_, payload) in self._entries.items()]

    def load(self, entries: Entries) -> None:
        """Replace the state by the entries of a snapshot."""
        loaded = [(key, self._parse(dumped)) for key, dumped in entries]
        loaded.sort(key=lambda entry: entry[1][0])
        self._entries = OrderedDict(loaded)

    def _dump(self, payload: Any) -> Any:
        raise NotImplementedError

    def _parse(self, dumped: Any) -> tuple[float, Any]:
        raise NotImplementedError


class ExpiringValueState(_Expiring):
    """One value per key, forgotten ``ttl`` seconds after it was last set."""

    __slots__ = ("_default", "_factory")

    kind = "value"

    def __init__(
        self, ctx: RuntimeContext, default: Any, ttl: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(ctx, ttl, clock)
        self._default = default
        self._factory = value_factory(default)

    @property
    def value(self) -> Any:
        """The value of the current key, or the default."""
        now, found = self._find()
        if found is not None:
            return found[1]
        if self._factory is None:
            return self._default
        made = self._factory()
        self._store(now, (now + self._ttl, made))
        return made

    @value.setter
    def value(self, new: Any) -> None:
        now, _ = self._find()
        self._store(now, (now + self._ttl, new))

    def _dump(self, payload: Any) -> Any:
        return list(payload)

    def _parse(self, dumped: Any) -> tuple[float, Any]:
        return dumped[0], (dumped[0], dumped[1])


class ExpiringListState(_Expiring):
    """A list per key whose elements are forgotten ``ttl`` seconds after they were appended."""

    __slots__ = ()

    kind = "list"

    def append(self, item: Any) -> None:
        """Add to the list of the current key."""
        now, found = self._find()
        elements = [e for e in found or () if e[0] > now] if found and found[0][0] <= now else found
        elements = [] if elements is None else elements
        elements.append((now + self._ttl, item))
        self._store(now, elements)

    def get(self) -> list[Any]:
        """A copy of the live elements of the current key."""
        now, found = self._find()
        return [item for deadline, item in found or () if deadline > now]

    def _dump(self, payload: Any) -> Any:
        return [list(element) for element in payload]

    def _parse(self, dumped: Any) -> tuple[float, Any]:
        return dumped[-1][0], [(deadline, item) for deadline, item in dumped]


class ExpiringMapState(_Expiring):
    """A mapping per key whose fields are forgotten ``ttl`` seconds after they were last put."""

    __slots__ = ()

    kind = "map"

    def get(self, field: Any, default: Any = None) -> Any:
        """The value of ``field`` for the current key."""
        now, found = self._find()
        entry = None if found is None else found.get(field)
        return default if entry is None or entry[0] <= now else entry[1]

    def put(self, field: Any, value: Any) -> None:
        """Set ``field`` for the current key."""
        now, found = self._find()
        fields: OrderedDict[Any, tuple[float, Any]] = OrderedDict() if found is None else found
        while fields and next(iter(fields.values()))[0] <= now:
            fields.popitem(last=False)
        fields[field] = (now + self._ttl, value)
        fields.move_to_end(field)
        self._store(now, fields)

    def remove(self, field: Any) -> None:
        """Forget ``field``; nothing happens if it is not there."""
        _, found = self._find()
        if found is not None:
            found.pop(field, None)
            if not found:
                self.clear()

    def items(self) -> Iterator[tuple[Any, Any]]:
        """``(field, value)`` of the current key that are alive, as they were at the call."""
        now, found = self._find()
        return iter([(f, value) for f, (end, value) in (found or {}).items() if end > now])

    def _dump(self, payload: Any) -> Any:
        return [[field, end, value] for field, (end, value) in payload.items()]

    def _parse(self, dumped: Any) -> tuple[float, Any]:
        return dumped[-1][1], OrderedDict((field, (end, value)) for field, end, value in dumped)
