"""How the commands reach a JobManager: which one, and what they show of it.

Predecessor: the commands; successor: ``sage.kernel.jobmanager.client``. The client is imported when
a command runs: help and completion of words need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage.common.errors import SageError

if TYPE_CHECKING:
    from sage.kernel.jobmanager.client import JobManagerClient

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        "-a",
        metavar="HOST:PORT",
        envvar="SAGE_JOBMANAGER_ADDRESS",
        help="The JobManager; default: remote.address of the settings, else the one here.",
        show_default=False,
    ),
]


def connect(address: str | None, *, timeout: float = 30.0) -> JobManagerClient:
    """A client of the JobManager at ``address``, of that of the settings, else of the one here.

    Args:
        address: ``host:port`` or a URL.
        timeout: Seconds without a byte from it.
    """
    from sage.kernel.jobmanager import connecting  # noqa: PLC0415 - not for help

    return connecting.connect(address, timeout=timeout)


def job_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of jobs for the completion of a word, with name and status; none if nothing answers."""
    try:
        jobs = connect(ctx.params.get("address"), timeout=1.0).jobs(limit=50)
    except SageError:
        return []
    return [(j.id, f"{j.name}, {j.status}") for j in jobs if j.id.startswith(incomplete)]


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of a job, or its beginning.",
        autocompletion=job_ids,
        show_default=False,
    ),
]
JobArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB",
        help="Ids of jobs, or their beginnings.",
        autocompletion=job_ids,
        show_default=False,
    ),
]


def plain(value: Any) -> dict[str, Any]:
    """What the client gave, as plain data: the same in every version of the command line."""
    import attrs  # noqa: PLC0415 - not for help

    data: dict[str, Any] = attrs.asdict(value)
    return data
