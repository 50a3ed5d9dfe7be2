"""What a task saves for a checkpoint, and how a new task takes it over.

Parts are named ``UID/SUBTASK/KIND`` after the step, not after the segment, so that another plan
finds them. Kinds: ``source``, ``keyed/...``, ``operator``, ``reduce``, ``join``, ``context``
(operator state), ``function/N`` (what ``snapshot()`` of the N-th function gave), ``pending/N/M``
(records on their way to input N), ``letters`` (ids of the items
that became dead letters).

Predecessor: the tasks; successor: ``sage.kernel.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from sage.common.errors import JobError
from sage.kernel.compiler.model import ExecutionGraph
from sage.kernel.graph.model import Node
from sage.kernel.operators.hashing import stable_hash
from sage.kernel.runtime.binding import Functions, has_life_cycle
from sage.kernel.state.codec import decode, encode

Owns = Callable[[Any], bool]


def part_name(uid: str, subtask: int, kind: str) -> str:
    """Name of a part; a ``/`` in the uid is escaped."""
    return f"{quote(uid, safe='')}/{subtask}/{kind}"


class Saved:
    """The parts of a checkpoint, by step.

    Attributes:
        steps: What the checkpoint's facts say of each step: uid -> ``{"name", "subtasks"}``.
    """

    def __init__(self, parts: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        self._parts = parts
        self.steps: Mapping[str, Any] = facts.get("steps", {})
        self._names: dict[str, dict[int, dict[str, str]]] = {}
        self._unused = set(parts)
        for name in parts:
            uid, subtask, kind = name.split("/", 2)
            self._names.setdefault(unquote(uid), {}).setdefault(int(subtask), {})[kind] = name

    def subtasks(self, uid: str) -> int:
        """How many subtasks the step had."""
        return int(self.steps.get(uid, {}).get("subtasks", len(self._names.get(uid, ())) or 1))

    def of(self, uid: str, kind: str) -> dict[int, bytes]:
        """Subtask -> part of this kind, for all subtasks that have it."""
        found = {}
        for subtask, kinds in sorted(self._names.get(uid, {}).items()):
            if kind in kinds:
                self._unused.discard(kinds[kind])
                found[subtask] = self._parts[kinds[kind]]
        return found

    def below(self, uid: str, kind: str) -> dict[str, bytes]:
        """``SUBTASK/REST`` -> part, for all parts of a kind that has several."""
        found = {}
        for subtask, kinds in sorted(self._names.get(uid, {}).items()):
            for name in sorted(kinds):
                if name.startswith(f"{kind}/"):
                    self._unused.discard(kinds[name])
                    found[f"{subtask}/{name[len(kind) + 1 :]}"] = self._parts[kinds[name]]
        return found

    def letters(self, uid: str) -> list[str]:
        """Ids of the items that are dead letters of the step."""
        found = self.of(uid, "letters").values()
        return [each for data in found for each in decode(data, "ids of dead letters")]

    def left(self) -> list[str]:
        """Parts that nobody asked for, as ``step: kind``."""
        found = []
        for name in sorted(self._unused):
            uid, _, kind = name.split("/", 2)
            shown = self.steps.get(unquote(uid), {}).get("name", unquote(uid))
            found.append(f"{shown}: {kind.split('/')[0]}")
        return sorted(set(found))


class SavedSource:
    """How far a source came.

    Attributes:
        count: Items it had given.
        offset: Its own idea of where to go on (``offset`` and ``seek``), or ``None``.
        ended: Whether it had no more.
    """

    __slots__ = ("count", "ended", "offset")

    def __init__(self, count: int, offset: Any, ended: bool) -> None:
        self.count = count
        self.offset = offset
        self.ended = ended


class RestoredLineage:
    """Ids of records that were on their way when the checkpoint was taken."""

    __slots__ = ("_ids",)

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids

    def resolve(self, position: int) -> str:
        return self._ids[position]


# ---------------------------------------------------------------------- saving


def save_functions(nodes: Iterable[Node], functions: Functions, subtask: int) -> dict[str, bytes]:
    """Parts of the user's functions of one subtask: their own state and that of their context."""
    parts: dict[str, bytes] = {}
    for node in nodes:
        context = functions.contexts[node.id]
        if context._operator_state:
            values = {name: held.value for name, held in context._operator_state.items()}
            parts[part_name(node.uid, subtask, "context")] = encode(
                values, f"operator state of step {node.name!r}"
            )
        if context._state is not None:
            keyed = context._state.snapshot_parts(f"step {node.name!r}")
            for name, data in keyed.items():
                parts[part_name(node.uid, subtask, f"keyed/{name}")] = data
        for nth, instance in enumerate(functions.instances[node.id]):
            if has_state(instance):
                parts[part_name(node.uid, subtask, f"function/{nth}")] = encode(
                    instance.snapshot(), f"snapshot() of step {node.name!r}"
                )
    return parts


def has_state(instance: Any) -> bool:
    """Whether a function takes part in checkpoints by ``snapshot()`` and ``restore(state)``."""
    return (
        callable(getattr(instance, "snapshot", None))
        and callable(getattr(instance, "restore", None))
        and has_life_cycle(instance)
    )


def keeps_state(functions: Functions) -> bool:
    """Whether calls in flight may change state that a snapshot would save half-way."""
    return any(
        has_state(instance) or takes_part(instance)
        for instances in functions.instances.values()
        for instance in instances
    ) or any(
        context._operator_state or context.takes_part for context in functions.contexts.values()
    )


def takes_part(instance: Any) -> bool:
    """Whether a function has ``roll_back``: what it wrote is taken back to a checkpoint."""
    return callable(getattr(instance, "roll_back", None)) and has_life_cycle(instance)


def save_records(node: Node, ids: list[str] | None, values: list[Any]) -> bytes:
    """Records on their way to a step."""
    return encode([ids, values], f"an item on its way to step {node.name!r}")


def save_ids(ids: list[str]) -> bytes:
    """Ids of records."""
    return encode(ids, "ids of records")


# ---------------------------------------------------------------------- restoring


def owner(subtask: int, subtasks: int) -> Owns:
    """Which keys belong to a subtask."""
    if subtasks == 1:
        return lambda key: True
    return lambda key: stable_hash(key) % subtasks == subtask


def restore_functions(
    saved: Saved, nodes: Iterable[Node], functions: Functions, subtask: int, subtasks: int
) -> None:
    """Give the functions of one subtask their state; their ``restore`` is called after ``open``."""
    for node in nodes:
        context = functions.contexts[node.id]
        context.restored = True
        held = saved.of(node.uid, "context")
        if held:
            data = _own(saved, node, held, subtask, subtasks, "operator state")
            context._restored_state = decode(data, f"operator state of step {node.name!r}")
        if context._state is not None:
            keyed = saved.below(node.uid, "keyed")
            if keyed:
                context._state.restore_parts(keyed, owner(subtask, subtasks))
        for nth in range(len(functions.instances[node.id])):
            found = saved.of(node.uid, f"function/{nth}")
            if found:
                data = _own(saved, node, found, subtask, subtasks, "the state of its function")
                state = decode(data, f"snapshot() of step {node.name!r}")
                functions.restore_after_open(node.id, nth, state)


def _own(
    saved: Saved, node: Node, found: dict[int, bytes], subtask: int, subtasks: int, what: str
) -> bytes:
    before = saved.subtasks(node.uid)
    if before != subtasks or subtask not in found:
        raise JobError(
            f"step {node.name!r} had parallelism {before} and has {subtasks} now, but {what} is "
            "kept per subtask and cannot be split; keep the parallelism, or use keyed state"
        )
    return found[subtask]


def restore_records(
    saved: Saved, plan: ExecutionGraph, node: Node, producers: Mapping[int, Any]
) -> None:
    """Put the records that were on their way to a step into its channels, before all others.

    Args:
        producers: channel plan id -> channels of the first producing task.
    """
    for index in range(len(node.inputs)):
        found = saved.below(node.uid, f"pending/{index}")
        if not found:
            continue
        channel_plan = next(
            (c for c in plan.channels if c.target == node.id and c.index == index), None
        )
        if channel_plan is None:
            raise JobError(
                f"step {node.name!r} had records on their way to it, but is fused with the step "
                "before it now; give both the options they had, or start with allow_dropped"
            )
        channels = producers[channel_plan.id]
        for data in found.values():
            ids, values = decode(data, f"an item on its way to step {node.name!r}")
            _inject(channel_plan, channels, ids, values)


def _inject(plan: Any, channels: list[Any], ids: list[str] | None, values: list[Any]) -> None:
    if not values:
        return
    if len(channels) == 1:
        channel = channels[0]
        if ids is not None:
            channel.lineage.restore(channel.total, RestoredLineage(ids))
        channel.items.extend(values)
        channel.total += len(values)
        if plan.counted:
            channel.produced += len(values)
        return
    for nth, value in enumerate(values):
        channel = channels[stable_hash(value[0]) % len(channels)] if plan.keyed else channels[0]
        if ids is not None:
            channel.lineage.restore(channel.total, RestoredLineage([ids[nth]]))
        channel.items.append(value)
        channel.total += 1
        if plan.counted:
            channel.produced += 1
