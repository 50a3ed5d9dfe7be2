"""What ``sage doctor`` and ``sage-install`` check of the JobManager: is it there, does it answer.

Predecessor: ``sage.common.cli.commands.doctor``; successor: ``sage.kernel.jobmanager.launch``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sage.common.cli.commands.doctor import Check

if TYPE_CHECKING:
    from sage.kernel.jobmanager.launch import DaemonState


def jobmanager() -> Iterator[Check]:
    """The JobManager of this machine; ``absent`` when none runs: not everybody needs one."""
    from sage.kernel.jobmanager.launch import daemon_state  # noqa: PLC0415 - not for help
    from sage.kernel.jobmanager.layout import token_path  # noqa: PLC0415

    yield of_state(daemon_state())
    path = token_path()
    if path.is_file() and path.stat().st_mode & 0o077:
        detail = f"others can read {path} and run code as you: chmod 600 {path}"
        yield Check("jobmanager token", "problem", detail)


def of_state(state: DaemonState) -> Check:
    """The line about a JobManager."""
    if not state.running:
        return Check("jobmanager", "absent", "not running; `sage jobmanager start` starts it")
    if state.healthy and state.problem is None:
        return Check("jobmanager", "ok", f"connected to {state.url}")
    return Check("jobmanager", "problem", state.problem or "Health check failed")
