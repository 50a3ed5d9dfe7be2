"""Life cycle of a job and of a task: the literal tables."""

from __future__ import annotations

CREATED = "CREATED"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
FAILING = "FAILING"
CANCELING = "CANCELING"
FINISHED = "FINISHED"
FAILED = "FAILED"
CANCELED = "CANCELED"

JOB_TRANSITIONS: dict[str, frozenset[str]] = {
    CREATED: frozenset({RUNNING, FAILED, CANCELED}),
    RUNNING: frozenset({PAUSED, FAILING, CANCELING, FINISHED}),
    PAUSED: frozenset({RUNNING, FAILING, CANCELING, FINISHED}),
    FAILING: frozenset({FAILED, CANCELING}),
    CANCELING: frozenset({CANCELED, FAILED}),
    FINISHED: frozenset(),
    FAILED: frozenset(),
    CANCELED: frozenset(),
}
"""State -> states that may follow. FAILING: good items before the failing one are delivered."""

TERMINAL = frozenset(state for state, after in JOB_TRANSITIONS.items() if not after)
