"""``sage job deadletters JOB`` and ``sage job deadletters requeue JOB``: items that failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sage.common.cli.output import OutputFormat, OutputOption
from sage.kernel.cli.connection import AddressOption, JobArgument, connect
from sage.kernel.cli.job.following import QuietOption, TimeoutOption, WaitOption, submitted
from sage.kernel.cli.shown import emit_rows


class _ListByDefault(TyperGroup):
    """``deadletters JOB`` is ``deadletters list JOB``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that ``args`` begin with, else ``list``."""
        if args and args[0] not in self.commands and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_ListByDefault,
    help="List the items that failed for good, or run them again.",
    context_settings={"ignore_unknown_options": True},  # those of `list`
    no_args_is_help=True,
)


@app.command("list")
def list_letters(
    job_id: JobArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most.")] = 100,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List the items that failed for good (the default)."""
    letters = connect(address).dead_letters(job_id, limit=limit)
    emit_rows(letters, output, [_row(letter) for letter in letters], "no items failed")


def _row(letter: Mapping[str, Any]) -> dict[str, Any]:
    failure = letter["error"]
    return {
        "id": letter["item_id"],
        "step": letter["operator"],
        "attempts": letter["attempts"],
        "error": f"{failure['type'].rpartition('.')[2]}: {failure['message']}",
        "item": letter["item"],
    }


@app.command()
def requeue(
    job_id: JobArgument,
    items: Annotated[
        list[str] | None, typer.Argument(metavar="ITEM", help="Ids of items; default: all.")
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    address: AddressOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Submit a job that runs only the failed items again."""
    client = connect(address)
    job = client.requeue(job_id, items=items or None)
    submitted(client, job, output, quiet=quiet, wait=wait, timeout=timeout)
