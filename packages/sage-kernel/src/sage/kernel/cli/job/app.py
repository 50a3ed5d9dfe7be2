"""Jobs of the JobManager: submit, watch, steer, run again."""

from __future__ import annotations

import typer

from sage.kernel.cli.job import (
    again,
    deadletters,
    explaining,
    listing,
    steering,
    submitting,
    watching,
)

app = typer.Typer(
    help="Jobs of the JobManager: submit, watch, steer, run again.", no_args_is_help=True
)
app.command("submit", context_settings={"allow_interspersed_args": False})(submitting.submit)
app.command("list")(listing.list_jobs)
app.command("show")(listing.show)
app.command("status")(listing.status)
app.command("wait")(listing.wait)
app.command("stop")(steering.stop)
app.command("pause")(steering.pause)
app.command("resume")(steering.resume)
app.command("logs")(watching.logs)
app.command("events")(watching.events)
app.command("metrics")(watching.metrics)
app.command("savepoint")(steering.savepoint)
app.command("restore")(again.restore)
app.command("replay")(again.replay)
app.command("fork")(again.fork)
app.command("outputs")(explaining.outputs)
app.command("why")(explaining.why)
app.command("cost")(explaining.cost)
app.add_typer(deadletters.app, name="deadletters")
app.command("remove")(steering.remove)
app.command("cleanup")(steering.cleanup)
