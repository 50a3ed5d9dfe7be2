"""Runs of this machine without a JobManager: ``sage job ... RUN --store DIR``.

A run keeps its calls and checkpoints, not its program: what runs it again is told the file.

Predecessor: the commands; successors: ``sage.kernel.checkpoint.runs`` and ``sage.kernel.ledger``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from sage.api import hosting
from sage.common.cli.output import say
from sage.common.errors import ConfigError, JobError, NotFoundError
from sage.kernel.checkpoint.runs import find_run, read_facts, remove_run
from sage.kernel.cli.pipeline import is_program, read_pipeline
from sage.kernel.cli.run import follow, run_program, summary
from sage.kernel.cli.shown import moment

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="A run of this machine instead of a job: folder of the runs, or of the run.",
        show_default=False,
    ),
]


@attrs.frozen(kw_only=True)
class LocalRun:
    """A run that some process of this machine recorded.

    Attributes:
        id: Its id.
        name: Name of the environment.
        store: Folder of the runs; the ledger is in it.
    """

    id: str
    name: str
    store: Path

    @property
    def ledger(self) -> Path:
        """The ledger with its calls."""
        return self.store / "ledger.sqlite"


def find(store: Path, run: str) -> LocalRun:
    """The run of that id, or the only one whose id begins so.

    Raises:
        NotFoundError: There is none; names the newest.
        ConfigError: There are several.
    """
    if read_facts(store) is not None:  # the folder of one run
        store = store.resolve().parent.parent
    known = runs(store)
    found = [facts for facts in known if facts["run"] == run] or [
        facts for facts in known if facts["run"].startswith(run)
    ]
    if not found:
        newest = ", ".join(facts["run"] for facts in known[:5]) or "none"
        raise NotFoundError(f"there is no run {run!r} in {str(store)!r} (newest: {newest})")
    if len(found) > 1:
        ids = ", ".join(facts["run"] for facts in found[:5])
        raise ConfigError(f"several runs begin with {run!r}: {ids}")
    return LocalRun(id=found[0]["run"], name=found[0]["name"], store=store)


def runs(store: Path) -> list[dict[str, Any]]:
    """Facts of the runs in a folder, newest first.

    Raises:
        NotFoundError: There is no such folder.
    """
    if not store.is_dir():
        raise NotFoundError(f"there is no folder {str(store)!r}")
    found = [facts for folder in store.glob("*/*/") if (facts := read_facts(folder)) is not None]
    return sorted(found, key=lambda facts: (facts["created"], facts["run"]), reverse=True)


def clean_up(
    store: Path, older_than: float, states: Collection[str], *, dry_run: bool
) -> list[str]:
    """Remove runs that ended so long ago, in seconds, and their calls; returns their ids.

    Raises:
        NotFoundError: There is no such folder.
        LedgerError: The ledger cannot be written.
    """
    from sage.kernel.ledger import forgetting  # noqa: PLC0415 - not for help

    chosen = []
    for facts in runs(store):
        found = find_run(store, facts["run"])
        if found is None or facts.get("status") not in states:
            continue
        ended = (found[0] / "run.json").stat().st_mtime
        if ended <= time.time() - older_than and (dry_run or remove_run(found[0])):
            chosen.append(facts["run"])
    if not dry_run:
        forgetting.forget(store / "ledger.sqlite", chosen)
        forgetting.compact(store / "ledger.sqlite")
    return chosen


def run_again(
    run: LocalRun,
    file: Path | None,
    arguments: Sequence[str],
    allow: Sequence[str],
    start: Callable[[Any], Any],
) -> None:
    """Run the program of a run again, with ``start(graph)`` in the place of its submission.

    Raises:
        ConfigError: No file was named, or what it submits has another name than the run.
        JobFailedError: The job failed.
    """
    if file is None:
        raise ConfigError(
            f"run {run.id} kept its calls, not its program: name the pipeline file or the program, "
            f"`sage job ... {run.id} FILE --store {run.store}`"
        )
    again = _Again(run, start)
    with _hosted(again):
        if is_program(file):
            run_program(file, arguments, watch=False)
        else:
            read_pipeline(file, config=None, settings=(), allow=allow).submit()
    if again.job is None:
        others = ", ".join(map(repr, again.others)) or "nothing"
        raise ConfigError(f"{file} submits {others}; the run {run.id} is of {run.name!r}")
    follow(again.job, watch=False)
    again.job.wait()
    say(summary(again.job))


class _Again:
    """Takes what a program submits; only the pipeline of the run is started."""

    def __init__(self, run: LocalRun, start: Callable[[Any], Any]) -> None:
        self._run = run
        self._start = start
        self.job: Any = None
        self.others: list[str] = []

    def submit(self, graph: Any) -> Any:
        if graph.name != self._run.name:
            self.others.append(graph.name)
            return hosting.FinishedJob(f"{self._run.id}-other", graph.name)
        if self.job is not None:
            raise JobError(
                f"the program submits {graph.name!r} twice: which of them is run {self._run.id}?"
            )
        self.job = self._start(graph)
        for line in self.job.logs():
            say(line)
        return self.job


@contextmanager
def _hosted(host: Any) -> Iterator[None]:
    before, hosting.host = hosting.host, host
    try:
        yield
    finally:
        hosting.host = before


def run_row(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a run in a list."""
    return {
        "id": facts["run"],
        "name": facts["name"],
        "status": facts.get("status"),
        "created": moment(facts["created"]),
        "attempts": len(facts.get("attempts", ())),
    }
