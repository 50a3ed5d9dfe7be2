"""The services that are registered with the JobManager."""

from __future__ import annotations

import typer

from sage.common.cli.output import OutputFormat, OutputOption
from sage.kernel.cli.connection import AddressOption, connect, plain
from sage.kernel.cli.shown import emit_rows, moment

app = typer.Typer(
    help="The services that are registered with the JobManager.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """The services that are registered with the JobManager."""


@app.command("list")
def list_services(address: AddressOption = None, output: OutputOption = OutputFormat.TABLE) -> None:
    """List the registered services, and whether each gave a sign of life."""
    found = [plain(service) for service in connect(address).services()]
    rows = [
        {
            "name": service["name"],
            "kind": service["kind"],
            "address": service["address"],
            "health": service["health"],
            "owner": service["owner"],
            "seen": moment(service["seen"]),
        }
        for service in found
    ]
    emit_rows(found, output, rows, "no services are registered")
