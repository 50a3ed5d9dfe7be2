"""All keyed state of one subtask, by name.

A snapshot is lists, dicts, strings, numbers and the user's own values::

    {"version": 1,
     "states": {name: {"kind": "value", "ttl": null, "entries": [[key, payload], ...]}}}

Containers of the engine are copied, the user's values are not: encode a snapshot before the next
item.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.state.memory import (
    HeldValueState,
    MemoryListState,
    MemoryMapState,
    MemoryValueState,
)
from sage.kernel.state.ttl import ExpiringListState, ExpiringMapState, ExpiringValueState

VERSION = 1
_Plain = MemoryValueState | MemoryListState | MemoryMapState
_Ttl = ExpiringValueState | ExpiringListState | ExpiringMapState


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
        self._restored: dict[str, dict[str, Any]] = {}
        self._owns: Callable[[Any], bool] = _owns_all
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
            seen.update(dict.fromkeys(key for key, _ in restored["entries"] if self._owns(key)))
        return iter(seen)

    def sweep(self) -> int:
        """Remove everything that has expired; return how many keys of states that were."""
        now = self._clock()
        return sum(state.sweep(now) for state, _ in self._states.values())

    def snapshot(self) -> dict[str, Any]:
        """All state as plain data."""
        states = {
            name: {"kind": state.kind, "ttl": ttl, "entries": state.entries()}
            for name, (state, ttl) in self._states.items()
        }
        for name, restored in self._restored.items():
            entries = [entry for entry in restored["entries"] if self._owns(entry[0])]
            states[name] = {**restored, "entries": entries}
        return {"version": VERSION, "states": states}

    def restore(
        self, snapshot: Mapping[str, Any], owns: Callable[[Any], bool] | None = None
    ) -> None:
        """Replace all state.

        Args:
            snapshot: What ``snapshot`` returned, of any subtask.
            owns: Which keys belong to this subtask; all, if not given.

        Raises:
            JobError: The snapshot has another version, or a state is of another kind now.
        """
        if snapshot.get("version") != VERSION:
            raise JobError(
                f"step {self._ctx.operator!r}: cannot restore keyed state of version "
                f"{snapshot.get('version')!r}, this engine reads version {VERSION}"
            )
        self._owns = owns or _owns_all
        self._restored = dict(snapshot["states"])
        for name, (state, ttl) in self._states.items():
            if name in self._restored:
                self._load(name, state, ttl)
            else:
                state.load([], self._owns)

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
        if restored["kind"] != state.kind:
            raise JobError(
                f"step {self._ctx.operator!r}: state {name!r} was saved as {restored['kind']} "
                f"state and is now {state.kind} state; use another name, or start "
                "without the savepoint"
            )
        entries = restored["entries"]
        if (restored["ttl"] is None) != (ttl is None):
            entries = [
                [key, _change_ttl(state.kind, payload, ttl, self._clock())]
                for key, payload in entries
            ]
        state.load(entries, self._owns)
        del self._restored[name]


def _owns_all(key: Any) -> bool:
    return True


def _change_ttl(kind: str, payload: Any, ttl: float | None, now: float) -> Any:
    """A payload for a state that got, or lost, its time to live since it was saved."""
    if kind == "value":
        return payload[1] if ttl is None else [now + ttl, payload]
    if kind == "list":
        return [e[1] for e in payload] if ttl is None else [[now + ttl, e] for e in payload]
    if ttl is None:
        return [[field, value] for field, _, value in payload]
    return [[field, now + ttl, value] for field, value in payload]
