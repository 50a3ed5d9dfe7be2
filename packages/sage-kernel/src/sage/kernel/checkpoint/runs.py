"""Run folders: one logical execution of a pipeline, over as many processes as it takes.

``STORE/NAME/RUN_ID/`` holds ``run.json`` (what the run is and how far it came), ``run.lock`` (held
by the process that executes it) and ``checkpoints/``. Predecessor:
``sage.kernel.checkpoint.settings``; successor: the coordinator.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any, Self

from sage.common.errors import JobError
from sage.common.paths import ensure_dir, replacing
from sage.kernel.checkpoint.settings import FaultTolerance

FINISHED = "FINISHED"
_REPLACED = "replaced_by"


class Run:
    """One run, locked by this process.

    Attributes:
        id: Run id; also the id of the job.
        folder: Its folder.
        facts: Content of ``run.json``: ``run``, ``name``, ``created`` (unix seconds), ``status``,
            ``attempts`` (one per process that executed it: ``pid``, ``started``), ``savepoint``
            (its path, where it started from one).
        resumed: Whether an earlier process began it.
    """

    def __init__(self, folder: Path, lock: int, facts: dict[str, Any], *, resumed: bool) -> None:
        self.id: str = facts["run"]
        self.folder = folder
        self.facts = facts
        self.resumed = resumed
        self._lock = lock

    @property
    def checkpoints(self) -> Path:
        """Folder of its checkpoints."""
        return self.folder / "checkpoints"

    def record(self, **facts: Any) -> None:
        """Add to ``run.json``, in one step."""
        self.facts.update(facts)
        _write(self.folder / "run.json", self.facts)

    def close(self) -> None:
        """Let others execute it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_run(settings: FaultTolerance, name: str, new_id: str) -> Run:
    """The run a job continues, or a new one.

    Args:
        settings: ``resume``, ``store`` and ``savepoint``. With a savepoint and ``auto``, only a run
            that started from it is continued.
        name: Name of the environment.
        new_id: Id of the run, if it is a new one.

    Raises:
        JobError: ``resume`` names a run that is not there, has finished, or is being executed.
    """
    home = ensure_dir(settings.store / safe_name(name))
    savepoint = None if settings.savepoint is None else str(settings.savepoint.absolute())
    if settings.resume == "auto":
        for folder in sorted(home.iterdir(), reverse=True):
            run = _resume(folder, savepoint)
            if run is not None:
                return run
    elif settings.resume != "never":
        return _named(home, settings.resume)
    folder = ensure_dir(home / new_id)
    lock = _lock(folder)
    assert lock is not None, "a new folder has no other owner"
    facts = {"run": new_id, "name": name, "created": time.time(), "status": "CREATED"}
    if savepoint is not None:
        facts["savepoint"] = savepoint
    run = Run(folder, lock, facts, resumed=False)
    run.record(attempts=[_attempt()])
    return run


def note_fork(folder: Path, run_id: str, name: str, parent: str, status: str) -> None:
    """Note a run that was made from a recorded one; nothing goes on with it by itself."""
    known = read_facts(ensure_dir(folder)) or {"created": time.time(), "attempts": [_attempt()]}
    facts = {**known, "run": run_id, "name": name, "fork_of": parent, "status": status}
    _write(folder / "run.json", facts)


def replace_run(store: Path, run_id: str, by: str) -> None:
    """Note that a run cannot go on, because what it wrote is taken back for another one.

    Raises:
        JobError: It is being executed.
    """
    found = find_run(store, run_id)
    if found is None:
        return  # the savepoint is from elsewhere: nothing here could go on with that run
    folder, facts = found
    lock = _lock(folder)
    if lock is None:
        raise JobError(
            f"run {run_id!r} is being executed: what it wrote cannot be taken back; stop it first, "
            "or start without roll_back"
        )
    with Run(folder, lock, facts, resumed=True) as run:
        run.record(**{_REPLACED: by})


def remove_run(folder: Path) -> bool:
    """Remove the folder of a run; false when it is being executed, or is gone."""
    if read_facts(folder) is None:
        return False
    lock = _lock(folder)
    if lock is None:
        return False
    try:
        shutil.rmtree(folder)
    finally:
        os.close(lock)
    return True


def safe_name(name: str) -> str:
    """A folder name for the name of an environment."""
    return re.sub(r"[^\w.-]+", "_", name)[:80].strip(".") or "job"


def find_run(store: Path, run_id: str) -> tuple[Path, dict[str, Any]] | None:
    """Folder and facts of a run of any environment, or ``None``."""
    if re.fullmatch(r"[\w.-]+", run_id) is None:
        return None
    for folder in store.glob(f"*/{run_id}"):
        facts = read_facts(folder)
        if facts is not None:
            return folder, facts
    return None


def read_facts(folder: Path) -> dict[str, Any] | None:
    """``run.json`` of a folder, or ``None`` when it holds no run."""
    try:
        facts = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "run" in facts else None


def _resume(folder: Path, savepoint: str | None = None) -> Run | None:
    """Lock an unfinished run; ``None`` when it finished or somebody else executes it.

    Args:
        savepoint: Only if it started from this one; ``None``: from whatever.
    """
    facts = read_facts(folder)
    if facts is None or facts.get("status") == FINISHED or {"fork_of", _REPLACED} & facts.keys():
        return None
    if savepoint is not None and facts.get("savepoint") != savepoint:
        return None
    lock = _lock(folder)
    if lock is None:
        return None
    facts = read_facts(folder)  # as its last owner left it
    if facts is None or facts.get("status") == FINISHED:
        os.close(lock)
        return None
    run = Run(folder, lock, facts, resumed=True)
    run.record(attempts=[*facts.get("attempts", []), _attempt()])
    return run


def _named(home: Path, run_id: str) -> Run:
    folder = home / safe_name(run_id)
    facts = read_facts(folder)
    if facts is None:
        known = ", ".join(sorted(p.name for p in home.iterdir())[-5:]) or "none"
        raise JobError(f"there is no run {run_id!r} in {str(home)!r} (newest: {known})")
    if facts.get("status") == FINISHED:
        raise JobError(
            f"run {run_id!r} has finished; start a new one with resume='never', or from a savepoint"
        )
    if _REPLACED in facts:
        raise JobError(
            f"run {run_id!r} cannot go on: what it wrote was taken back when run "
            f"{facts[_REPLACED]!r} started from its savepoint"
        )
    run = _resume(folder)
    if run is None:
        raise JobError(f"run {run_id!r} is being executed by another process")
    return run


def _attempt() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": time.time()}


def _lock(folder: Path) -> int | None:
    """Lock the run of a folder for this process; the system lets go of it when the process dies."""
    handle = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _write(path: Path, facts: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(facts, indent=1).encode())
