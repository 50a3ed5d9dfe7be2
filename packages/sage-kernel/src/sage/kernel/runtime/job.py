"""The handle of a submitted pipeline.

Predecessor: ``sage.kernel.runtime.execution``; successor: the user.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, JobCanceledError, JobError, JobFailedError
from sage.kernel.runtime import states
from sage.kernel.runtime.recorded import RecordedExecution


class Job(RecordedExecution):
    """Handle of a submitted pipeline. ``str(job)`` is its id.

    Attributes:
        id: Unique id of the run.
        name: Name of the environment.
    """

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} {self._status}>"

    # ------------------------------------------------------------------ for the user

    @property
    def status(self) -> str:
        """One of CREATED, RUNNING, PAUSED, FAILING, CANCELING, FINISHED, FAILED, CANCELED."""
        return self._status

    def done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> Job:
        """Wait for the end. Ctrl-C cancels the job cleanly and is raised again.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            The job itself, FINISHED or CANCELED.

        Raises:
            JobFailedError: The job failed; ``TaskFailedError`` when a step did, with the cause.
            TimeoutError: It is still running.
        """
        try:
            ended = self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if not ended:
            raise TimeoutError(
                f"job {self.name!r} ({self.id}) is still {self._status} after {timeout} s"
            )
        self._observed = True
        if self._status == states.FAILED:
            raise self.failure()
        return self

    def failure(self) -> BaseException:
        """What ``wait`` raises for a failed job."""
        error = self._error
        if isinstance(error, JobFailedError):
            return error
        failed = JobFailedError(
            f"job {self.name!r} failed: {type(error).__name__}: {error}", job=self.name
        )
        failed.__cause__ = error
        return failed

    def error(self) -> BaseException | None:
        """The failure, or ``None``; unlike ``wait`` this neither waits nor raises."""
        return self.failure() if self._status == states.FAILED else None

    def result(self, timeout: float | None = None) -> Job:
        """Like ``wait``, but a canceled job raises ``JobCanceledError``."""
        self.wait(timeout)
        if self._status == states.CANCELED:
            raise JobCanceledError(f"job {self.name!r} ({self.id}) was canceled", job=self.name)
        return self

    def pause(self) -> None:
        """Stop pulling from sources; what is under way goes on. No effect unless RUNNING."""
        with self._lock:
            if self._status == states.RUNNING:
                self._to(states.PAUSED)
                self._poke()

    def resume(self, *, budget: Any = None) -> None:
        """Go on after ``pause``, or after the budget was spent.

        Args:
            budget: The new budget of the whole run, what was spent included: a mapping as in the
                setting ``budget``. Without it a job whose budget is spent pauses again.

        Raises:
            ConfigError: The budget is none, or the job was started without one.
        """
        own = self.owner.budget
        if budget is not None:
            from sage.kernel.scheduling.budget import read_budget  # noqa: PLC0415 - attrs

            raised = read_budget(budget)
            if own is None:
                raise ConfigError(
                    f"job {self.name!r} was started without a budget, so its calls were not "
                    "counted: set the key budget of its environment"
                )
            own.set_budget(raised)
        with self._lock:
            if self._status == states.PAUSED:
                self._to(states.RUNNING)
        self._poke()
        if own is not None:
            own.go_on()

    def savepoint(self, path: str | os.PathLike[str], timeout: float | None = None) -> str:
        """Save the state of the running job, from which a (changed) pipeline can start.

        Args:
            path: Folder of the savepoint; must not exist, or be empty.
            timeout: Seconds to wait for it.

        Returns:
            The path, for ``env.enable_checkpoints(savepoint=path)``.

        Raises:
            JobError: The job has no checkpoints or is ending, or the savepoint cannot be written.
            TimeoutError: It is not complete yet.
        """
        if self._durable is None:
            raise JobError(
                f"job {self.name!r} keeps no state to save: call env.enable_checkpoints() "
                "(with interval=None for savepoints alone) before env.submit()"
            )
        self._durable.savepoint(Path(path), timeout)
        return str(path)

    @property
    def run_folder(self) -> str | None:
        """Folder of the run (checkpoints, ``run.json``), with ``env.enable_checkpoints()``."""
        return None if self._durable is None else str(self._durable.run.folder)

    @property
    def restored_from(self) -> int | None:
        """Number of the checkpoint the job went on from, if it did."""
        return None if self._durable is None else self._durable.restored

    def prometheus(self) -> str:
        """The metrics as Prometheus text."""
        from sage.kernel.observe.prometheus import render  # noqa: PLC0415

        return render(self.metrics())

    def events(self) -> list[dict[str, Any]]:
        """What happened, oldest first: ``{"time" (unix seconds), "job", ...}``.

        State changes have a ``status``; others an ``event`` and its facts, such as
        ``checkpoint_completed`` with ``checkpoint_id``, ``duration`` and ``size``.
        """
        return list(self._events)

    def logs(self) -> list[str]:
        """Lines the engine has to say about the run, oldest first (the last 2,000)."""
        return list(self._log)

    def dead_letters(self) -> list[dict[str, Any]]:
        """The last dead letters; all of them are in the file ``dead_letter_path``."""
        return self.letters.recent()

    @property
    def dead_letter_path(self) -> str | None:
        """JSONL file of the items that failed under ``on_error="dead_letter"``."""
        return self.letters.path
