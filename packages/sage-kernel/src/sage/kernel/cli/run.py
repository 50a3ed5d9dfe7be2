"""Run a pipeline file or a Python program on this machine."""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import ExitCode, say
from sage.kernel.cli.pipeline import (
    Allow,
    Arguments,
    Config,
    Settings,
    Target,
    check_arguments,
    is_program,
    read_pipeline,
    refuse_overrides,
)

app = typer.Typer(add_completion=False)


@app.command("run", context_settings={"allow_interspersed_args": False})
def command(
    ctx: typer.Context,
    target: Target,
    arguments: Arguments = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show a live table of the steps.")] = False,
    settings: Settings = None,
    config: Config = None,
    allow: Allow = None,
) -> int:
    """Run a pipeline file or a Python program on this machine.

    Options come before the file. Exit codes: 0 the job finished, 3 it failed, 130 Ctrl-C.
    """
    from sage.kernel.runtime.exit import cancel_all  # noqa: PLC0415

    check_arguments(ctx, target, arguments)
    if is_program(target):
        refuse_overrides(target, config, settings or ())
        run_program(target, arguments or (), watch=watch)
        return ExitCode.OK
    env = read_pipeline(target, config=config, settings=settings or (), allow=allow or ())
    env.check()  # names the step and the file, where submit would name the operator
    try:
        job = env.submit()
        follow(job, watch=watch)
        job.wait()
    except KeyboardInterrupt:
        env.close()
        cancel_all()  # a job that ``submit`` had started but not returned yet
        raise
    say(summary(job))
    return ExitCode.OK


def follow(job: Any, *, watch: bool) -> None:
    """Show how the job goes until it ended: a table, or one line on a terminal, or nothing."""
    from sage.kernel.observe.table import REFRESH, ended, progress  # noqa: PLC0415

    if watch:
        from rich.console import Console  # noqa: PLC0415 - only to draw

        from sage.kernel.observe import table  # noqa: PLC0415

        table.watch(job, Console(stderr=True))
    elif sys.stderr.isatty():
        try:
            while not ended(job, REFRESH):
                sys.stderr.write(f"\r\x1b[K{progress(job.metrics())}")
                sys.stderr.flush()
        finally:
            sys.stderr.write("\r\x1b[K")


def summary(job: Any) -> str:
    """The last line about a job."""
    from sage.kernel.observe.table import progress  # noqa: PLC0415

    return progress(job.metrics())


def run_program(target: Path, arguments: Sequence[str], *, watch: bool) -> None:
    """Run a program as ``__main__`` in this process, then wait for the jobs it left running.

    Raises:
        JobFailedError: A job failed.
        SystemExit: The program ended itself.
    """
    from sage.api import local_environment  # noqa: PLC0415
    from sage.kernel.runtime.exit import cancel_all  # noqa: PLC0415

    jobs: list[Any] = []
    watchers: list[threading.Thread] = []

    def submitted(job: Any) -> None:
        jobs.append(job)
        if watch:
            thread = threading.Thread(
                target=follow, args=(job,), kwargs={"watch": True}, name="sage-watch", daemon=True
            )
            watchers.append(thread)
            thread.start()

    old_arguments, old_path = sys.argv, list(sys.path)
    sys.argv = [str(target), *arguments]
    sys.path.insert(0, str(target.resolve().parent))
    local_environment.on_submit.append(submitted)
    try:
        runpy.run_path(str(target), run_name="__main__")
        for job in jobs:
            job.wait()
    except KeyboardInterrupt:
        cancel_all()  # also a job that ``submitted`` has not been told of yet
        for job in jobs:
            job.cancel()
        raise
    finally:
        local_environment.on_submit.remove(submitted)
        for thread in watchers:
            thread.join()
        sys.argv, sys.path[:] = old_arguments, old_path
