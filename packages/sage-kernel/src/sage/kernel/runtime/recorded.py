"""What a job can tell from its ledger, and runs made from it.

Predecessor: ``sage.kernel.ledger.report``; successor: ``sage.kernel.runtime.job``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.errors import JobError
from sage.kernel.runtime.execution import Execution

if TYPE_CHECKING:
    from sage.kernel.ledger.report import CostReport, OutputFacts, Why
    from sage.kernel.ledger.run import RunLedger
    from sage.kernel.runtime.job import Job


class RecordedExecution(Execution):
    """An execution whose calls may be recorded in a ledger."""

    @property
    def ledger(self) -> RunLedger | None:
        """The calls of the run, with ``env.enable_checkpoints()``."""
        return None if self.recording is None else self.recording.ledger

    def why(self, record: str) -> Why:
        """Where an item came from: source, passages, prompt, model calls, cost.

        Args:
            record: Its record id, as ``outputs`` lists it. The value prints as a readable chain.

        Raises:
            NotFoundError: The run has no such item; names the nearest.
            JobError: The job has no ledger.
        """
        from sage.kernel.ledger import report  # noqa: PLC0415 - only with a ledger

        return report.why(*self._recorded("why"), record)

    def cost(self, by: str = "operator") -> CostReport:
        """What the run has cost so far, exactly.

        Args:
            by: ``operator``, ``model`` or ``item``.

        Raises:
            JobError: The job has no ledger.
        """
        from sage.kernel.ledger import report  # noqa: PLC0415 - only with a ledger

        return report.cost(*self._recorded("cost"), by)

    def outputs(self, status: str | None = None) -> list[OutputFacts]:
        """The items that reached a sink, or were lost, so far; in runs that make calls.

        Args:
            status: Only those: ``ok``, ``failed``, ``dead_letter`` or ``skipped``.

        Raises:
            JobError: The job has no ledger.
        """
        from sage.kernel.ledger import report  # noqa: PLC0415 - only with a ledger

        return report.outputs(*self._recorded("outputs"), status)

    def replay(self, output: str | os.PathLike[str] | None = None) -> Job:
        """Run the pipeline again from the ledger: no call is made.

        Args:
            output: Folder for what file sinks write; default: ``replays/N`` in the run's folder.

        Returns:
            The job; it fails with ``LedgerMissError`` where a call was not recorded.

        Raises:
            JobError: The job has no ledger.
        """
        path, run = self._recorded("replay")
        job: Job = self.again().replay_run(self._graph, path.parent, run, output=output)
        return job

    def fork(
        self,
        from_: str | None = None,
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the command line
        where: str | None = None,
        output: str | os.PathLike[str] | None = None,
        effects: bool = False,
    ) -> Job:
        """Run the pipeline again as a new run that computes one step and all after it anew.

        Args:
            from_: Name or uid of the step; calls of the others come from this run.
            set: Keys of that step's configuration to change.
            where: Only the items of these records: ``status=failed`` (also dead letters),
                ``status=dead_letter``, ``status=skipped``, ``status=ok`` or ``record=ID``.
            output: Folder for what file sinks write; default: ``output`` in the new run's folder.
            effects: Whether sinks with effects outside (API, database) run.

        Raises:
            JobError: The job has no ledger, or no item matches.
            GraphError: There is no such step, or it cannot be configured so.
        """
        path, run = self._recorded("fork")
        job: Job = self.again().fork_run(
            self._graph,
            path.parent,
            run,
            from_=from_,
            set=set,
            where=where,
            output=output,
            effects=effects,
        )
        return job

    def _recorded(self, what: str) -> tuple[Path, str]:
        ledger = self.ledger
        if ledger is None:
            raise JobError(
                f"job {self.name!r} has no ledger, which {what} reads: call "
                "env.enable_checkpoints() (or set fault_tolerance) before env.submit()"
            )
        return ledger.store.path, ledger.id
