"""Keyed state as parts of a checkpoint: each named state in 64 key groups.

A part is ``NAME/GROUP``; a key is always in the same group, so a group none of whose keys changed
has the same bytes as before and is not written again. Keys and values are two columns: columns of
plain values are encoded several times faster than pairs.

Predecessor: ``sage.kernel.state.backend``; successor: ``sage.kernel.state.codec``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from zlib import crc32

from sage.common.errors import GraphError, JobError
from sage.kernel.operators.hashing import stable_hash
from sage.kernel.state.backend import NamedState
from sage.kernel.state.codec import StateEncodingError, decode, encode

GROUPS: Final = 64
_VERSION: Final = 1


def encode_parts(states: Mapping[str, NamedState], where: str) -> dict[str, bytes]:
    """The parts of some states.

    Args:
        states: By name.
        where: Whose they are, for errors.

    Raises:
        StateEncodingError: A key or a value cannot be stored; names state and key.
    """
    parts = {}
    for name, state in states.items():
        try:
            for group, (keys, values) in _grouped(state).items():
                content = [_VERSION, name, state.kind, state.ttl, keys, values]
                parts[f"{name}/{group:02}"] = encode(content, where)
        except StateEncodingError:
            _explain(state, f"{where}, state {name!r}")
            raise
    return parts


def _grouped(state: NamedState) -> dict[int, tuple[list[Any], list[Any]]]:
    columns: list[tuple[list[Any], list[Any]]] = [([], []) for _ in range(GROUPS)]
    for key, value in state.entries:
        try:
            group = stable_hash(key)
        except GraphError:  # a key that cannot be partitioned by, in a step of one subtask
            group = crc32(encode(key, "a key"))
        keys, values = columns[group % GROUPS]
        keys.append(key)
        values.append(value)
    return {group: held for group, held in enumerate(columns) if held[0]}


def _explain(state: NamedState, what: str) -> None:
    """Raise the error that names the key."""
    for key, value in state.entries:
        text = repr(key)
        short = text if len(text) <= 80 else text[:77] + "..."
        encode(key, f"{what}, the key {short}")
        encode(value, f"{what}, key {short}")


def decode_parts(
    parts: Mapping[str, bytes], where: str, owns: Callable[[Any], bool] | None
) -> dict[str, NamedState]:
    """The states in some parts.

    Args:
        parts: Of one or more subtasks; what they are called does not matter.
        where: Whose they are, for errors.
        owns: Which keys are wanted; all, if not given.

    Raises:
        StateDecodingError: A part is damaged, or names what is not there any more.
        JobError: A part is of another version, or parts of one state contradict each other.
    """
    states: dict[str, NamedState] = {}
    found: dict[str, list[tuple[Any, Any]]] = {}
    for part, data in parts.items():
        content = decode(data, f"{where}, part {part!r}")
        if content[0] != _VERSION:
            raise JobError(
                f"{where}: cannot restore keyed state of version {content[0]!r}, this engine reads "
                f"version {_VERSION}"
            )
        _, name, kind, ttl, keys, values = content
        entries = zip(keys, values, strict=True)
        mine = found.setdefault(name, [])
        mine.extend(entries if owns is None else (e for e in entries if owns(e[0])))
        known = states.setdefault(name, NamedState(kind, ttl, mine))
        if (known.kind, known.ttl is None) != (kind, ttl is None):
            raise JobError(f"{where}: parts of state {name!r} were saved by different programs")
    return states
