"""All keyed state of one subtask, by name.

A snapshot is a flat mapping of parts, see ``sage.kernel.state.parts``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.state.memory import (
    Entries,
    HeldValueState,
    MemoryListState,
    MemoryMapState,
    MemoryValueState,
)
from sage.kernel.state.ttl import ExpiringListState, ExpiringMapState, ExpiringValueState

_Plain = MemoryValueState | MemoryListState | MemoryMapState
_Ttl = ExpiringValueState | ExpiringListState | ExpiringMapState


class NamedState(NamedTuple):
    """One named state in a snapshot."""

    kind: str
    ttl: float | None
    entries: Entries


class StateBackend:
    """In-memory keyed state; ``ctx.value_state(...)`` and its siblings come here.

    Args:
        ctx: Context of the subtask. Its ``key`` says whose state is meant, and the backend becomes
            the state of this context.
        clock: Unix seconds now, for the time to live.
    """

    def __init__(self, ctx: RuntimeContext, clock: Callable[[], float] = time.time) -> None:
        self._ctx = ctx
        self._clock = clock
        self._states: dict[str, tuple[_Plain | _Ttl, float | None]] = {}
        # Restored states that no step has asked for yet; they stay in later snapshots.
        self._restored: dict[str, NamedState] = {}
        ctx._state = self

    def value(self, name: str, default: Any = None, ttl: float | None = None) -> Any:
        """The value state ``name``; the same object every time."""
        known = self._known(name, "value", ttl)
        if known is not None:
            return known
        if ttl is None:
            return self._add(name, MemoryValueState(self._ctx, default), None)
        return self._add(name, ExpiringValueState(self._ctx, default, ttl, self._clock), ttl)

    def list(self, name: str, ttl: float | None = None) -> Any:
        """The list state ``name``; the same object every time."""
        known = self._known(name, "list", ttl)
        if known is not None:
            return known
        if ttl is None:
            return self._add(name, MemoryListState(self._ctx), None)
        return self._add(name, ExpiringListState(self._ctx, ttl, self._clock), ttl)

    def map(self, name: str, ttl: float | None = None) -> Any:
        """The map state ``name``; the same object every time."""
        known = self._known(name, "map", ttl)
        if known is not None:
            return known
        if ttl is None:
            return self._add(name, MemoryMapState(self._ctx), None)
        return self._add(name, ExpiringMapState(self._ctx, ttl, self._clock), ttl)

    def hold_values(self) -> tuple[HeldValueState, ...]:
        """Let generated code hold the value states there are, see ``HeldValueState``."""
        held = []
        for state, _ in self._states.values():
            if type(state) is MemoryValueState and state.can_be_held:
                state.__class__ = HeldValueState
            if isinstance(state, HeldValueState):
                held.append(state)
        return tuple(held)

    def keys(self) -> Iterator[Any]:
        """Every key that has live state, once each."""
        seen: dict[Any, None] = {}
        for state, _ in self._states.values():
            seen.update(dict.fromkeys(state.keys()))
        for restored in self._restored.values():
            seen.update(dict.fromkeys(key for key, _ in restored.entries))
        return iter(seen)

    def sweep(self) -> int:
        """Remove everything that has expired; return how many keys of states that were."""
        now = self._clock()
        return sum(state.sweep(now) for state, _ in self._states.values())

    def snapshot_parts(self, where: str) -> dict[str, bytes]:
        """All state, as named bytes; what did not change has the same bytes again.

        Args:
            where: Whose state it is, for errors.

        Raises:
            StateEncodingError: A key or a value cannot be stored.
        """
        from sage.kernel.state.parts import encode_parts  # noqa: PLC0415 - needs msgspec

        states = {
            name: NamedState(state.kind, ttl, state.entries())
            for name, (state, ttl) in self._states.items()
        }
        return encode_parts({**states, **self._restored}, where)

    def restore_parts(
        self, parts: Mapping[str, bytes], owns: Callable[[Any], bool] | None = None
    ) -> None:
        """Replace all state.

        Args:
            parts: What ``snapshot_parts`` gave, of one or more subtasks.
            owns: Which keys belong to this subtask; all, if not given.

        Raises:
            JobError: A part cannot be read, or a state is of another kind now.
        """
        from sage.kernel.state.parts import decode_parts  # noqa: PLC0415 - needs msgspec

        self._restored = decode_parts(parts, f"step {self._ctx.operator!r}", owns)
        for name, (state, ttl) in self._states.items():
            if name in self._restored:
                self._load(name, state, ttl)
            else:
                state.load([])

    def _known(self, name: str, kind: str, ttl: float | None) -> Any:
        if ttl is not None and not ttl > 0:
            raise GraphError(
                f"step {self._ctx.operator!r}: state {name!r} needs a ttl > 0 (seconds), "
                f"got {ttl!r}"
            )
        entry = self._states.get(name)
        if entry is None:
            return None
        state, known_ttl = entry
        if state.kind != kind or known_ttl != ttl:
            raise GraphError(
                f"step {self._ctx.operator!r} asks for {kind} state {name!r} with ttl={ttl!r}, but "
                f"has it already as {state.kind} state with ttl={known_ttl!r}; use another name"
            )
        return state

    def _add(self, name: str, state: _Plain | _Ttl, ttl: float | None) -> Any:
        if name in self._restored:
            self._load(name, state, ttl)
        self._states[name] = (state, ttl)
        return state

    def _load(self, name: str, state: _Plain | _Ttl, ttl: float | None) -> None:
        restored = self._restored[name]
        if restored.kind != state.kind:
            raise JobError(
                f"step {self._ctx.operator!r}: state {name!r} was saved as {restored.kind} "
                f"state and is now {state.kind} state; use another name, or start "
                "without the savepoint"
            )
        entries = restored.entries
        if (restored.ttl is None) != (ttl is None):
            now = self._clock()
            entries = [(k, _change_ttl(state.kind, payload, ttl, now)) for k, payload in entries]
        state.load(entries)
        del self._restored[name]


def _change_ttl(kind: str, payload: Any, ttl: float | None, now: float) -> Any:
    """A payload for a state that got, or lost, its time to live since it was saved."""
    if kind == "value":
        return payload[1] if ttl is None else [now + ttl, payload]
    if kind == "list":
        return [e[1] for e in payload] if ttl is None else [[now + ttl, e] for e in payload]
    if ttl is None:
        return {field: value for field, _, value in payload}
    return [[field, now + ttl, value] for field, value in payload.items()]
