"""Checkpoint parts of the steps of a synchronous task: source, operators, tables, functions.

Predecessor: ``sage.kernel.runtime.sync_task``; successor: ``sage.kernel.runtime.snapshots``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.kernel.graph.model import Node
from sage.kernel.runtime.snapshots import (
    Owns,
    Saved,
    SavedSource,
    owner,
    part_name,
    restore_functions,
    save_functions,
)
from sage.kernel.runtime.tables import Many
from sage.kernel.state.codec import decode, encode

if TYPE_CHECKING:
    from sage.kernel.runtime.sync_task import SyncTask


def save_steps(task: SyncTask, *, ended: bool) -> dict[str, bytes]:
    """All parts of a task, between two batches.

    Args:
        ended: Whether its input has ended.
    """
    nodes, subtask = task.segment.nodes, task.subtask
    parts = save_functions(nodes, task.functions, subtask)
    parts.update(task.save_letters(set()))
    for node in nodes:
        saved = _save(task, node, ended)
        if saved is not None:
            kind, value = saved
            what = f"state of step {node.name!r}"
            parts[part_name(node.uid, subtask, kind)] = encode(value, what)
    return parts


def _save(task: SyncTask, node: Node, ended: bool) -> tuple[str, Any] | None:
    if node.kind == "source":
        return "source", [task.pulled(), task.source_offset(node), ended]
    operator = task.operators.get(node.id)
    if operator is not None:
        return "operator", [task.numbered(node), operator.snapshot()]
    state: Any = task.tables.get(node.id)
    if node.kind == "reduce":
        return "reduce", [[key, value] for key, value in state.items()]
    if node.kind == "join":
        return "join", [[[key, _listed(value)] for key, value in side.items()] for side in state]
    return None


def _listed(value: Any) -> list[Any]:
    return list(value) if value.__class__ is Many else [value]


def restore_steps(task: SyncTask, saved: Saved) -> None:
    """Take over what an earlier task of these steps saved."""
    subtask, subtasks = task.subtask, task.segment.subtasks
    restore_functions(saved, task.segment.nodes, task.functions, subtask, subtasks)
    task.restore_letters(saved)
    owns = owner(subtask, subtasks)
    for node in task.segment.nodes:
        what = f"state of step {node.name!r}"
        if node.kind == "source":
            for data in saved.of(node.uid, "source").values():
                task.continue_source(SavedSource(*decode(data, what)))
        elif node.id in task.operators:
            states = {at: decode(data, what) for at, data in saved.of(node.uid, "operator").items()}
            if states:
                _restore_operator(task, node, states, saved.subtasks(node.uid) == subtasks, owns)
        elif node.kind in ("reduce", "join"):
            for data in saved.of(node.uid, node.kind).values():
                _restore_table(task, node, decode(data, what), owns)


def _restore_operator(
    task: SyncTask, node: Node, states: dict[int, Any], same: bool, owns: Owns
) -> None:
    operator = task.operators[node.id]
    if same and task.subtask in states:
        numbered, state = states[task.subtask]
    else:
        # Numbers that no subtask has given yet: ids stay unique.
        numbered = max(state[0] for state in states.values())
        state = operator.merge([state for _, state in states.values()], owns)
    operator.restore(state)
    task.continue_numbering(node, numbered)


def _restore_table(task: SyncTask, node: Node, state: Any, owns: Owns) -> None:
    table = task.tables[node.id]
    if node.kind == "reduce":
        table.update((key, value) for key, value in state if owns(key))
        return
    for side, entries in zip(table, state, strict=True):
        side.update(
            (key, values[0] if len(values) == 1 else Many(values))
            for key, values in entries
            if owns(key)
        )
