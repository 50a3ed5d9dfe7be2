"""Settings of fault tolerance: ``env.enable_checkpoints(...)`` or the key ``fault_tolerance``.

Predecessor: ``sage.kernel.graph.settings``; successors: ``sage.kernel.checkpoint.runs`` and the
coordinator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.common.config import structure_config
from sage.common.errors import ConfigError
from sage.common.paths import state_dir

STRATEGIES = ("none", "fixed_delay", "exponential", "failure_rate")


def _positive(instance: Any, attribute: Any, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name!r} must be a number of seconds > 0 or null: {value!r}")


@attrs.frozen(kw_only=True)
class Restart:
    """What to do when the job fails.

    Attributes:
        strategy: ``none``; ``fixed_delay``: up to ``attempts`` restarts, ``delay`` apart;
            ``exponential``: waits that grow by ``multiplier`` up to ``max_delay``, reset after the
            job ran ``window`` seconds; ``failure_rate``: as long as no more than ``attempts``
            failures fall into ``window``.
        attempts: Restarts (``failure_rate``: failures per window) allowed, >= 1.
        delay: Seconds before a restart, >= 0; the first one's for ``exponential``.
        multiplier: Growth of the wait per restart, >= 1.
        max_delay: Longest wait in seconds.
        window: Seconds.
    """

    strategy: str = attrs.field(default="none", validator=attrs.validators.in_(STRATEGIES))
    attempts: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    delay: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    multiplier: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    max_delay: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    window: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class FaultTolerance:
    """How a job survives failures.

    Attributes:
        store: Folder of the runs of all environments; default: ``runs`` in SAGE's state folder.
        interval: Seconds between two checkpoints; ``None``: only by ``every``, at the start, at the
            end, and when a savepoint is asked for.
        every: Records that the sources pulled between two checkpoints; ``None``: only by time.
        resume: ``auto`` goes on with the newest run of this name that did not finish; ``never``
            starts anew; else the id of a run.
        keep: Newest checkpoints that are kept, >= 1.
        durability: ``power``: written through to the disk (``fsync``); ``process``: survives the
            death of the process, not of the machine.
        timeout: Seconds after which a checkpoint that is not complete is given up.
        ledger: Whether effectful calls are recorded, so that none is paid for twice.
        prices: File of model prices that adds to the packaged table.
        restart: Restarts inside of the process.
        savepoint: Start from this savepoint; with ``auto``, an unfinished run that did so goes on.
        allow_dropped: Start although the savepoint or checkpoint holds state that no step of the
            graph takes; it is dropped.
        roll_back: With ``savepoint``: what the savepoint's run has written since then to what takes
            part in checkpoints, such as memory, is taken back. That run cannot go on then.
    """

    store: Path = attrs.field(factory=lambda: state_dir() / "runs")
    interval: float | None = attrs.field(default=10.0, validator=_positive)
    every: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    resume: str = "auto"
    keep: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    durability: str = attrs.field(
        default="power", validator=attrs.validators.in_(("power", "process"))
    )
    timeout: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    ledger: bool = True
    prices: Path | None = None
    restart: Restart = attrs.field(factory=Restart)
    savepoint: Path | None = None
    allow_dropped: bool = False
    roll_back: bool = False

    @property
    def ledger_path(self) -> Path:
        """The ledger of all runs in the store."""
        return self.store / "ledger.sqlite"


def fault_tolerance(config: Mapping[str, Any]) -> FaultTolerance | None:
    """The settings of an environment's configuration, or ``None`` where it has none.

    Args:
        config: ``graph.config``; ``fault_tolerance`` is a mapping, or ``True`` for the defaults.

    Raises:
        ConfigError: A key is unknown, or a value is of another type or out of range.
    """
    given = config.get("fault_tolerance")
    if given is None or given is False:
        return None
    if given is True:
        given = {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"fault_tolerance must be a mapping such as {{'interval': 10}} or true, got {given!r}"
        )
    settings = structure_config(given, FaultTolerance, name="fault_tolerance")
    if settings.roll_back and settings.savepoint is None:
        raise ConfigError(
            "fault_tolerance: roll_back is about a savepoint to start from: set savepoint too, or "
            "leave roll_back out (a run that goes on always takes its own writes back)"
        )
    return attrs.evolve(settings, store=settings.store.expanduser().absolute())
