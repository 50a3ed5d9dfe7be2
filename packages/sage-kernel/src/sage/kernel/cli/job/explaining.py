"""``sage job outputs | why | cost``: read from the ledger of a job or of a local run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit
from sage.kernel.cli.connection import AddressOption, JobArgument, connect, plain
from sage.kernel.cli.job.local import StoreOption, find
from sage.kernel.cli.shown import emit_rows, moment


class By(StrEnum):
    """What the cost of a job is added up by."""

    OPERATOR = "operator"
    MODEL = "model"
    ITEM = "item"


def outputs(
    job_id: JobArgument,
    status: Annotated[
        str | None,
        typer.Option("--status", "-s", help="Only: ok, failed, dead_letter or skipped."),
    ] = None,
    store: StoreOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List the items that reached a sink or were lost, with their ids."""
    found = (
        _local_outputs(store, job_id, status)
        if store
        else connect(address).outputs(job_id, status=status)
    )
    rows = [
        {
            "item": each["record"],
            "step": each["step"],
            "status": each["status"],
            "at": moment(each["at"]),
            "facts": ", ".join(f"{k}={v}" for k, v in each["facts"].items() if v not in ([], {})),
        }
        for each in found
    ]
    emit_rows(found, output, rows, "no items came out, or the job makes no recorded calls")


def why(
    job_id: JobArgument,
    item: Annotated[
        str | None,
        typer.Argument(
            help="Id of an item, as `outputs` lists it.", metavar="ITEM", show_default=False
        ),
    ] = None,
    store: StoreOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the chain that led to an item, from source to answer."""
    if item is None:
        given = f"{job_id} --store {store}" if store else job_id
        raise typer.BadParameter(
            f"give the id of an item; `sage job outputs {given}` lists them", param_hint="ITEM"
        )
    data = _local_why(store, job_id, item) if store else connect(address).why(job_id, item)
    emit(data, output, text=_why_text(data) if output is OutputFormat.TABLE else None)


def cost(
    job_id: JobArgument,
    by: Annotated[By, typer.Option(help="What it is added up by.")] = By.OPERATOR,
    store: StoreOption = None,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show what a job cost; an unknown price is never zero."""
    data = _local_cost(store, job_id, by) if store else connect(address).cost(job_id, by.value)
    emit(data, output, text=_cost_text(data) if output is OutputFormat.TABLE else None)


def _local_outputs(store: Path, run_id: str, status: str | None) -> list[dict[str, Any]]:
    from sage.kernel.ledger import report  # noqa: PLC0415 - not for help

    run = find(store, run_id)
    return [plain(each) for each in report.outputs(run.ledger, run.id, status)]


def _local_why(store: Path, run_id: str, item: str) -> dict[str, Any]:
    from sage.kernel.ledger import report  # noqa: PLC0415 - not for help

    run = find(store, run_id)
    return report.why(run.ledger, run.id, item).to_dict()


def _local_cost(store: Path, run_id: str, by: By) -> dict[str, Any]:
    from sage.kernel.ledger import report  # noqa: PLC0415 - not for help

    run = find(store, run_id)
    return report.cost(run.ledger, run.id, by.value).to_dict()


def _why_text(data: Mapping[str, Any]) -> str:
    from sage.kernel.ledger.report import Why  # noqa: PLC0415 - as above

    return str(Why.from_dict(data))


def _cost_text(data: Mapping[str, Any]) -> str:
    from sage.kernel.ledger.report import CostReport  # noqa: PLC0415 - as above

    return str(CostReport.from_dict(data))
