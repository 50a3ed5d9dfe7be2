"""Check that SAGE works here, and say what to do next."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from sage.common.cli.commands.doctor import Check, installation
from sage.common.cli.output import ExitCode, OutputFormat, OutputOption, emit, error, say, style
from sage.common.errors import SageError
from sage.kernel.cli.checks import of_state

_NEXT = """\
next:
  sage app run qa            the bundled questions, answered from the bundled documents
  sage run pipeline.yaml     a pipeline of your own on this machine
  sage jobmanager start      the JobManager; `sage job submit app.py` then runs jobs in it
  sage --help                everything else; `sage completion bash` for the Tab key"""

_TROUBLE = """\
if something fails:
  Failed to connect to JobManager   sage jobmanager start
  Permission denied (port)          a port below 1024 or in use: leave it at the default, 19001
  Health check failed               sage jobmanager restart
  needs the package ...             ./quickstart.sh --with EXTRA (the message names it)
  anything else                     sage doctor, and docs/troubleshooting/index.md"""


def command(
    start: Annotated[bool, typer.Option("--start", help="Start the JobManager, too.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Check that SAGE works here, and say what to do next."""
    checks = [*installation(), _pipeline(), *_jobmanager(start, asks=_asks(no_input))]
    rows = [check._asdict() for check in checks]
    # People see the extras on two lines: `sage doctor` has them all.
    emit(list(_short(checks)) if output is OutputFormat.TABLE else rows, output)
    problems = [check for check in checks if check.status == "problem"]
    for problem in problems:
        error(f"{problem.check}: {problem.detail}")
    say(_TROUBLE if problems else f"{style('SAGE is installed and works', 'green', sys.stderr)}")
    say(_NEXT)
    return ExitCode.PROBLEMS if problems else ExitCode.OK


def _asks(no_input: bool) -> bool:
    return not no_input and sys.stdin.isatty() and sys.stderr.isatty()


def _short(checks: list[Check]) -> Iterator[dict[str, str]]:
    extras: dict[str, list[str]] = {"ok": [], "absent": []}
    for check in checks:
        if check.check.startswith("extra "):
            extras[check.status].append(check.check.removeprefix("extra "))
        else:
            yield check._asdict()
    for status, names in extras.items():
        if names:
            yield Check(f"extras {status}", status, ", ".join(names))._asdict()


def _pipeline() -> Check:
    """A pipeline of a source, a step and a sink runs and gives what it must."""
    from sage.api.local_environment import LocalEnvironment  # noqa: PLC0415 - not for help

    got: list[str] = []
    began = time.perf_counter()
    try:
        env = LocalEnvironment("sage-install")
        env.from_collection(["works", "it"]).map(str.upper).sink(got.append)
        env.submit().wait(60)
    except Exception as exc:  # noqa: BLE001 - whatever ends it, the report says so
        return Check("pipeline", "problem", f"{type(exc).__name__}: {exc}")
    if got != ["WORKS", "IT"]:
        return Check(
            "pipeline", "problem", f"expected WORKS, IT; got {', '.join(got) or 'nothing'}"
        )
    milliseconds = (time.perf_counter() - began) * 1000
    return Check("pipeline", "ok", f"a pipeline of three steps ran, {milliseconds:.0f} ms")


def _jobmanager(start: bool, *, asks: bool) -> Iterator[Check]:
    from sage.kernel.jobmanager.launch import daemon_state, start_daemon  # noqa: PLC0415

    state = daemon_state()
    if not state.running and not start and asks:
        start = typer.confirm("The JobManager does not run. Start it now?", err=True)
    if not state.running and start:
        try:
            start_daemon()
        except SageError as exc:
            yield Check("jobmanager", "problem", str(exc))
            return
        state = daemon_state()
    yield of_state(state)
