"""Life cycle of a managed job and of an attempt (one process that works on it): literal tables.

The diagrams in ``docs/jobmanager.md`` are drawn from them by ``mermaid``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sage.common.errors import JobError

SUBMITTED = "SUBMITTED"
STARTING = "STARTING"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
RESTARTING = "RESTARTING"
SUSPENDED = "SUSPENDED"
CANCELING = "CANCELING"
FINISHED = "FINISHED"
FAILED = "FAILED"
CANCELED = "CANCELED"
LOST = "LOST"

_ENDS = frozenset({FINISHED, FAILED, CANCELED})
_LEAVES = _ENDS | {RESTARTING, SUSPENDED, CANCELING}

JOB_TRANSITIONS: Mapping[str, frozenset[str]] = {
    SUBMITTED: frozenset({STARTING, FAILED, CANCELED}),
    STARTING: _LEAVES | {RUNNING},
    RUNNING: _LEAVES | {PAUSED},
    PAUSED: _LEAVES | {RUNNING},
    RESTARTING: frozenset({STARTING, FAILED, CANCELED}),
    SUSPENDED: frozenset({STARTING, FAILED, CANCELED}),
    CANCELING: _ENDS,
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELED: frozenset(),
}
"""State -> states that may follow.

SUBMITTED: stored, waits for a place. RESTARTING: its process died; waits for the next attempt.
SUSPENDED: ended together with the daemon; goes on with the next one.
"""

ATTEMPT_TRANSITIONS: Mapping[str, frozenset[str]] = {
    STARTING: _ENDS | {RUNNING, SUSPENDED, LOST},
    RUNNING: _ENDS | {SUSPENDED, LOST},
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELED: frozenset(),
    SUSPENDED: frozenset(),
    LOST: frozenset(),
}
"""LOST: the process ended without saying how the job ended, e.g. by ``kill -9``."""

ENDED = frozenset(state for state, after in JOB_TRANSITIONS.items() if not after)
"""States of a job that has ended."""

WAITING = frozenset({SUBMITTED, RESTARTING, SUSPENDED})
"""States of a job that has no process and shall get one."""

ACTIVE = frozenset(JOB_TRANSITIONS) - ENDED - WAITING
"""States of a job that has a process, or had one when it was last seen."""


def check(table: Mapping[str, frozenset[str]], what: str, old: str, new: str) -> None:
    """Refuse a transition the table does not have.

    Raises:
        JobError: ``what`` cannot go from ``old`` to ``new``.
    """
    if new not in table[old]:
        raise JobError(f"{what} is {old} and cannot become {new}", status=old)


def mermaid(table: Mapping[str, frozenset[str]]) -> str:
    """A table as a Mermaid state diagram."""
    order = {state: at for at, state in enumerate(table)}
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, after in table.items():
        lines += [f"    {state} --> {each}" for each in sorted(after, key=order.__getitem__)]
        if not after:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
