"""Exit codes of every ``sage`` command, and which error ends in which.

== =========================
0  done
1  failure
2  usage
3  the job failed
4  not found
5  credentials refused
6  timeout
7  server unreachable
8  a check found problems
130 interrupted by Ctrl-C
== =========================

A process ended by a signal has 128 + its number, as the shell says it (143 for SIGTERM).
"""

from __future__ import annotations

from enum import IntEnum

from sage.common.errors import (
    AuthError,
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    UnreachableError,
)


class ExitCode(IntEnum):
    """What a command's exit status means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    JOB_FAILED = 3
    NOT_FOUND = 4
    AUTH = 5
    TIMEOUT = 6
    UNREACHABLE = 7
    PROBLEMS = 8
    INTERRUPTED = 130


_BY_ERROR: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (TimeoutError, ExitCode.TIMEOUT),
    (AuthError, ExitCode.AUTH),
    (UnreachableError, ExitCode.UNREACHABLE),
    (ConnectionError, ExitCode.UNREACHABLE),
    (NotFoundError, ExitCode.NOT_FOUND),
    (JobFailedError, ExitCode.JOB_FAILED),
    (JobCanceledError, ExitCode.JOB_FAILED),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code for an error that ends a command."""
    if isinstance(error, UnreachableError) and isinstance(error.__cause__, TimeoutError):
        return ExitCode.TIMEOUT  # it may be there; it did not answer in time
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILURE)
