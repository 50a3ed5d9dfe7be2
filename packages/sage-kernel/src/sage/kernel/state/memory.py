"""Keyed state in memory: one dict per named state, read and written for ``ctx.key``.

An access costs one dict look-up. Equal keys share state, so ``1``, ``1.0`` and ``True`` are one
key, as they are for Python's dicts and for the partitioning hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sage.api.context import RuntimeContext
from sage.kernel.operators.defaults import value_factory
from sage.kernel.operators.keys import check_hashable

Entries = Iterable[tuple[Any, Any]]
"""Keys, each with what a state has for it."""


class MemoryState:
    """What the kinds of state have in common: ``data``, with one entry for each key."""

    __slots__ = ("_ctx", "data")

    def __init__(self, ctx: RuntimeContext) -> None:
        self._ctx = ctx
        self.data: dict[Any, Any] = {}

    def clear(self) -> None:
        """Forget what the current key has."""
        self.data.pop(self._ctx.key, None)

    def sweep(self, now: float) -> int:
        """Remove what has expired; nothing does here."""
        return 0

    def keys(self) -> Iterator[Any]:
        """Keys that have state."""
        return iter(self.data)

    def entries(self) -> Entries:
        """Every key and what it has, for a snapshot."""
        return self.data.items()

    def load(self, entries: Entries) -> None:
        """Replace the state by the entries of a snapshot."""
        self.data.clear()
        self.data.update(entries)


class MemoryValueState(MemoryState):
    """One value per key.

    A default made by a factory (or a list, dict or set, which each key gets a copy of) is stored at
    its first read, so that changing it in place works. Any other is never stored: a key whose value
    is the very default object has no entry.
    """

    __slots__ = ("_default", "_factory", "held")

    kind = "value"

    def __init__(self, ctx: RuntimeContext, default: Any) -> None:
        super().__init__(ctx)
        self._default = default
        self._factory = value_factory(default)
        self.held = default

    @property
    def value(self) -> Any:
        """The value of the current key, or the default."""
        try:
            return self.data[self._ctx.key]
        except KeyError:
            pass
        except TypeError:
            check_hashable(self._ctx)
            raise
        if self._factory is None:
            return self._default
        made = self.data[self._ctx.key] = self._factory()
        return made

    @value.setter
    def value(self, new: Any) -> None:
        try:
            if new is self._default and self._factory is None:
                self.data.pop(self._ctx.key, None)
            else:
                self.data[self._ctx.key] = new
        except TypeError:
            check_hashable(self._ctx)
            raise

    @property
    def can_be_held(self) -> bool:
        """Whether reading the default stores nothing."""
        return self._factory is None


class HeldValueState(MemoryValueState):
    """The same, while generated code holds the value of the current key in a slot.

    A ``MemoryValueState`` becomes one when its step is hot, by assignment to ``__class__``. The
    code then puts ``held`` in before each call of the step and stores it after the call when it has
    become another object; ``value`` is the slot itself.
    """

    __slots__ = ()

    value = MemoryValueState.held  # type: ignore[misc]

    def write_back(self) -> None:
        """Store what the step has assigned."""
        if self._is_new():
            self._store(self.data)

    def _is_new(self) -> bool:
        try:
            return self.held is not self.data.get(self._ctx.key, self._default)
        except Exception:  # noqa: BLE001 - a key that cannot be hashed has no state
            return False

    def _store(self, data: dict[Any, Any]) -> None:
        if self.held is self._default:
            del data[self._ctx.key]
        else:
            data[self._ctx.key] = self.held

    def let_go(self) -> None:
        """Hold nothing that belongs to a key."""
        self.held = self._default

    def clear(self) -> None:
        """Forget the value of the current key; stored after the call, as any other value."""
        self.let_go()

    def keys(self) -> Iterator[Any]:
        """Keys that have state."""
        return iter(self._seen())

    def entries(self) -> Entries:
        """Every key and its value, for a snapshot."""
        return self._seen().items()

    def _seen(self) -> dict[Any, Any]:
        """``data`` with what the step assigned: the code stores only what differs from before."""
        if not self._is_new():
            return self.data
        seen = self.data.copy()
        self._store(seen)
        return seen

    def load(self, entries: Entries) -> None:
        """Replace the state by the entries of a snapshot."""
        super().load(entries)
        self.held = self.data.get(self._ctx.key, self._default)


class MemoryListState(MemoryState):
    """A list per key."""

    __slots__ = ()

    kind = "list"
    data: dict[Any, list[Any]]

    def append(self, item: Any) -> None:
        """Add to the list of the current key."""
        try:
            self.data[self._ctx.key].append(item)
        except KeyError:
            self.data[self._ctx.key] = [item]
        except TypeError:
            check_hashable(self._ctx)
            raise

    def get(self) -> list[Any]:
        """A copy of the list of the current key."""
        try:
            return list(self.data.get(self._ctx.key, ()))
        except TypeError:
            check_hashable(self._ctx)
            raise


class MemoryMapState(MemoryState):
    """A mapping per key."""

    __slots__ = ()

    kind = "map"
    data: dict[Any, dict[Any, Any]]

    def _fields(self) -> dict[Any, Any] | None:
        try:
            return self.data.get(self._ctx.key)
        except TypeError:
            check_hashable(self._ctx)
            raise

    def get(self, field: Any, default: Any = None) -> Any:
        """The value of ``field`` for the current key."""
        fields = self._fields()
        return default if fields is None else fields.get(field, default)

    def put(self, field: Any, value: Any) -> None:
        """Set ``field`` for the current key."""
        fields = self._fields()
        if fields is None:
            self.data[self._ctx.key] = {field: value}
        else:
            fields[field] = value

    def remove(self, field: Any) -> None:
        """Forget ``field``; nothing happens if it is not there."""
        fields = self._fields()
        if fields is not None:
            fields.pop(field, None)
            if not fields:
                del self.data[self._ctx.key]

    def items(self) -> Iterator[tuple[Any, Any]]:
        """``(field, value)`` of the current key, as they were at the call."""
        return iter(list((self._fields() or {}).items()))
