"""Life cycle of a job and of a task: the literal tables."""

from __future__ import annotations

CREATED = "CREATED"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
FAILING = "FAILING"
RESTARTING = "RESTARTING"
CANCELING = "CANCELING"
FINISHED = "FINISHED"
FAILED = "FAILED"
CANCELED = "CANCELED"

JOB_TRANSITIONS: dict[str, frozenset[str]] = {
    CREATED: frozenset({RUNNING, FAILED, CANCELED}),
    RUNNING: frozenset({PAUSED, FAILING, CANCELING, FINISHED}),
    PAUSED: frozenset({RUNNING, FAILING, CANCELING, FINISHED}),
    FAILING: frozenset({FAILED, RESTARTING, CANCELING}),
    RESTARTING: frozenset({RUNNING, FAILED, CANCELING}),
    CANCELING: frozenset({CANCELED, FAILED}),
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELED: frozenset(),
}
"""State -> states that may follow. FAILING: good items before the failing one are delivered.
RESTARTING: a failed job waits to go on from its last checkpoint."""

TERMINAL = frozenset(state for state, after in JOB_TRANSITIONS.items() if not after)
