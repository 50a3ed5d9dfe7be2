"""``sage job restore | replay | fork``: run a job, or a run of this machine, again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption
from sage.kernel.cli.connection import AddressOption, JobArgument, connect
from sage.kernel.cli.job.following import QuietOption, TimeoutOption, WaitOption, submitted
from sage.kernel.cli.job.local import StoreOption, find, run_again
from sage.kernel.cli.pipeline import Allow, split_setting

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="With --store: the PIPELINE.yaml or app.py of the run.",
        show_default=False,
    ),
]
FileArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARGUMENT", help="With --store: arguments of app.py."),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="With --store: where file sinks write; default: below the run's folder.",
        show_default=False,
    ),
]


def restore(
    job_id: JobArgument,
    savepoint: Annotated[
        str | None,
        typer.Option("--from", help="Savepoint; default: the newest checkpoint.", metavar="PATH"),
    ] = None,
    allow_dropped: Annotated[
        bool, typer.Option("--allow-dropped", help="Drop state of steps that are gone.")
    ] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Submit the code of a job again, from a savepoint."""
    client = connect(address)
    job = client.restore(job_id, savepoint, allow_dropped=allow_dropped)
    submitted(client, job, output, quiet=quiet, wait=wait, timeout=timeout)


def replay(
    job_id: JobArgument,
    file: FileArgument = None,
    arguments: FileArguments = None,
    store: StoreOption = None,
    output_dir: OutputDir = None,
    allow: Allow = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Run a job again from its ledger: no provider is called.

    With --store, a run of this machine is replayed here, without a JobManager.
    """
    if store is not None:
        run = find(store, job_id)

        def start(graph: Any) -> Any:
            from sage.kernel.runtime.local.again import replay_run  # noqa: PLC0415 - not for help

            return replay_run(graph, run.store, run.id, output=output_dir)

        run_again(run, file, arguments or (), allow or (), start)
        return
    _only_jobs(file)
    client = connect(address)
    submitted(client, client.replay(job_id), output, quiet=quiet, wait=wait, timeout=timeout)


def fork(
    job_id: JobArgument,
    file: FileArgument = None,
    arguments: FileArguments = None,
    operator: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="First step that is computed anew."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another configuration of that step; repeatable."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="status=failed", help="Only the items that failed; or record=ITEM."),
    ] = None,
    store: StoreOption = None,
    output_dir: OutputDir = None,
    allow: Allow = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Run a job again, computing a step and all after it anew.

    With --store, a run of this machine is forked here, without a JobManager.
    """
    if operator is None and where is None:
        raise typer.BadParameter("give --from STEP or --where status=failed")
    if settings and operator is None:
        raise typer.BadParameter("--set needs --from STEP, the step whose configuration it is")
    changes = step_settings(operator, settings or ())
    if store is not None:
        run = find(store, job_id)

        def start(graph: Any) -> Any:
            from sage.kernel.runtime.local.again import fork_run  # noqa: PLC0415 - not for help

            return fork_run(
                graph,
                run.store,
                run.id,
                from_=operator,
                set=changes,
                where=where,
                output=output_dir,
            )

        run_again(run, file, arguments or (), allow or (), start)
        return
    _only_jobs(file)
    client = connect(address)
    full = {f"{operator}.{key}": value for key, value in changes.items()}
    job = client.fork(job_id, operator, settings=full, where=where)
    submitted(client, job, output, quiet=quiet, wait=wait, timeout=timeout)


def step_settings(operator: str | None, texts: Sequence[str]) -> Mapping[str, Any]:
    """``KEY=VALUE`` and ``STEP.KEY=VALUE`` of one step as a mapping of keys."""
    found = dict(split_setting(text, shortest=1) for text in texts)
    return {key.removeprefix(f"{operator}."): value for key, value in found.items()}


def _only_jobs(file: Path | None) -> None:
    if file is not None:
        raise typer.BadParameter("a job keeps its program: FILE is for runs of --store")
