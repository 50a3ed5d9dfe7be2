"""The calls and outputs of one run.

Predecessor: ``sage.kernel.ledger.store``; successors: ``sage.kernel.ledger.calls`` (what a step
uses) and ``sage.kernel.ledger.report``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from sage.kernel.ledger.errors import LedgerError, PayloadError
from sage.kernel.ledger.payloads import Blobs, pack, unpack
from sage.kernel.ledger.prices import PriceTable
from sage.kernel.ledger.store import Ledger

MODES: Final = ("record", "replay", "fork")

AWAITED: Final = 1
"""Flag of a call whose function returned an awaitable although it is no coroutine function."""
WHOLE_STEP: Final = 2
"""Flag of a call that the engine made: the whole step is the effect."""
SHARED: Final = 4
"""Flag of a call of a step with ``cache="shared"``."""

_logger = logging.getLogger("sage.ledger")

_FOUND: Final = "id, output, kind, flags, source"


class Recorded:
    """A call that has a response.

    Attributes:
        output: The packed response.
        value: The response.
        run: The run it was found in.
        shared: Whether it is the response to an equal request of another record or run.
    """

    __slots__ = ("flags", "id", "kind", "output", "run", "shared", "source", "value")

    def __init__(self, row: tuple[Any, ...], value: Any, run: str) -> None:
        self.value = value
        self.id: int = row[0]
        self.output: bytes = row[1]
        self.kind: str = row[2]
        self.flags: int = row[3]
        self.source: int | None = row[4]
        self.run = run
        self.shared = False


class RunLedger:
    """What one run records, and what it may take from the ledger instead of calling.

    Args:
        store: The ledger.
        run_id: The run whose calls are looked up and recorded; in a replay the run that is
            replayed.
        name: Name of the environment.
        mode: ``record``: look up the run's own calls, make the others; ``replay``: look up only, a
            miss is an error, nothing is recorded; ``fork``: calls of steps outside ``fresh`` are
            taken from ``parent`` where it has them.
        parent: The run a fork comes from.
        fresh: Uids of the steps that a fork computes anew.
        prices: What calls cost.

    Attributes:
        notify: Tells the plugins that listen of a call, ``notify(event, **facts)``, or ``None``.
        earlier: Whether calls may be found: a run that goes on, or was restarted.
    """

    def __init__(
        self,
        store: Ledger,
        run_id: str,
        *,
        name: str,
        mode: str = "record",
        parent: str | None = None,
        fresh: Iterable[str] = (),
        prices: PriceTable | None = None,
    ) -> None:
        if mode not in MODES:
            raise LedgerError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self.store = store
        self.id = run_id
        self.name = name
        self.mode = mode
        self.parent = parent
        self.fresh = frozenset(fresh)
        self.prices = prices or PriceTable.packaged()
        self.notify: Callable[..., None] | None = None
        self._steps: dict[tuple[str, str], int] = {}
        self._whole: dict[str, bool] = {}
        self._lock = threading.Lock()
        self.shared_calls: dict[tuple[str, bytes], Any] = {}
        self._closed = False
        store.drain()  # another user of this process may have added to the run
        found = store.query("SELECT seed, parent FROM runs WHERE id = ?", (run_id,))
        self.earlier = bool(found) or mode != "record"
        if found:
            self.seed: bytes = found[0][0]
        elif mode == "replay":
            raise LedgerError(
                f"run {run_id!r} is not in the ledger {str(store.path)!r}: it was not recorded, or "
                "its records were removed"
            )
        else:
            self.seed = os.urandom(16)
            store.change(
                "INSERT OR IGNORE INTO runs (id, name, mode, parent, seed, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (run_id, name, mode, parent, self.seed, time.time()),
            )
            if parent is not None:
                row = store.query("SELECT seed FROM runs WHERE id = ?", (parent,))
                if not row:
                    raise LedgerError(f"run {parent!r} is not in the ledger {str(store.path)!r}")
                self.parent_seed: bytes = row[0][0]

    def repeat(self) -> None:
        """The run starts again in this process: its calls are found from now on."""
        self.store.drain()
        self.earlier = True

    def close(self) -> None:
        """Let go of the ledger; what was added is committed first.

        What cannot be written is logged: call ``store.drain`` before to know.
        """
        if not self._closed:
            self._closed = True
            try:
                self.store.drain()
            except LedgerError as error:
                _logger.warning("run %s: %s", self.id, error)
            self.store.close()

    # ------------------------------------------------------------------ steps

    def step_id(self, uid: str, name: str, version: str) -> int:
        """Number of a step of this run in the ledger, made on first use."""
        with self._lock:
            known = self._steps.get((uid, version))
            if known is None:
                sql = "SELECT id FROM steps WHERE run = ? AND uid = ? AND version = ?"
                found = self.store.query(sql, (self.id, uid, version))
                if not found:
                    self.store.change(
                        "INSERT OR IGNORE INTO steps (run, uid, name, version) VALUES (?, ?, ?, ?)",
                        (self.id, uid, name, version),
                    )
                    found = self.store.query(sql, (self.id, uid, version))
                known = self._steps[uid, version] = found[0][0]
            return known

    def seed_of(self, uid: str) -> bytes:
        """The seed of a step's random numbers: that of the parent where a fork repeats it."""
        return self.parent_seed if self._repeats(uid) else self.seed

    def _repeats(self, uid: str) -> bool:
        return self.mode == "fork" and self.parent is not None and uid not in self.fresh

    def whole_step(self, uid: str) -> bool | None:
        """Whether a step's calls were recorded as a whole; ``None``: it has no calls.

        Only for runs that are repeated: it says whether the step may be run to find its calls.
        """
        known = self._whole.get(uid)
        if known is None:
            rows = self.store.query(
                "SELECT calls.flags FROM calls JOIN steps ON steps.id = calls.step "
                "WHERE steps.run = ? AND steps.uid = ? AND calls.kind <> 'clock' LIMIT 1",
                (self.parent if self._repeats(uid) else self.id, uid),
            )
            if not rows:
                return None
            known = self._whole[uid] = bool(rows[0][0] & WHOLE_STEP)
        return known

    # ------------------------------------------------------------------ finding calls

    def key(self, record: str, uid: str, version: str, request: bytes, ordinal: int) -> str:
        """Name of a call, the same whenever it is repeated; hexadecimal.

        It stands for run, record, step, code version, request and the count of equal requests.
        """
        text = "\0".join((self.id, record, uid, version, str(ordinal)))
        return blake2b(text.encode() + request, digest_size=16).hexdigest()

    def find(
        self, uid: str, version: str, record: str, request: bytes, ordinal: int
    ) -> Recorded | None:
        """A recorded call of this run, or of the parent where a fork repeats it."""
        runs = [self.id]
        if self._repeats(uid):
            assert self.parent is not None
            runs.append(self.parent)
        for run in runs:
            rows = self.store.query(
                f"SELECT {_FOUND} FROM calls WHERE step = "  # noqa: S608 - own names
                "(SELECT id FROM steps WHERE run = ? AND uid = ? AND version = ?) "
                "AND record = ? AND request = ? AND ordinal = ? AND error IS NULL "
                "ORDER BY id DESC LIMIT 1",
                (run, uid, version, record, request, ordinal),
            )
            found = self._recorded(rows[0], run, uid) if rows else None
            if found is not None:
                return found
        return None

    def find_shared(self, version: str, request: bytes) -> Recorded | None:
        """The newest call with this code version and request that a step of any run shares."""
        rows = self.store.query(
            f"SELECT {_FOUND}, (SELECT run FROM steps WHERE id = calls.step) FROM calls "  # noqa: S608
            "WHERE request = ? AND flags & 4 <> 0 AND output IS NOT NULL AND step IN "
            "(SELECT id FROM steps WHERE version = ?) ORDER BY id DESC LIMIT 1",
            (request, version),
        )
        found = self._recorded(rows[0], rows[0][-1], "another run") if rows else None
        if found is not None:
            found.shared = True
        return found

    def _recorded(self, row: tuple[Any, ...], run: str, step: str) -> Recorded | None:
        """A call with its response; ``None`` when that is damaged, so that it is made again.

        Raises:
            PayloadError: It is damaged, and a replay cannot make it again.
        """
        try:
            return Recorded(row, self.value(row[1], f"a recorded call of {step!r}"), run)
        except PayloadError as error:
            if self.mode == "replay":
                raise
            _logger.warning("a call is made again: %s", error)
            return None

    def value(self, packed: bytes, where: str) -> Any:
        """A packed request or response as a value."""
        return unpack(packed, self.store.payload, where)

    # ------------------------------------------------------------------ outputs

    def output(
        self,
        step: int,
        record: str | None,
        status: str,
        facts: Mapping[str, Any] | None = None,
        nth: int = 0,
    ) -> None:
        """Note what became of an item: it reached a sink, or was lost in a step.

        Args:
            step: Number of the sink or step.
            record: The item's record id; without one nothing can be noted.
            status: ``ok``, ``failed``, ``dead_letter`` or ``skipped``.
            facts: Plain values that say where it came from.
            nth: Counts outputs that have one record id.
        """
        if record is None or self.mode == "replay":
            return
        blobs: Blobs = []
        packed = None if facts is None else pack(dict(facts), "lineage", blobs)
        row = (step, record, nth, status, time.time(), packed)
        self.store.add("outputs", [(row, blobs)])


def open_run(
    path: Path,
    run_id: str,
    *,
    name: str,
    durability: str = "power",
    prices: Path | None = None,
    **options: Any,
) -> RunLedger:
    """The ledger of a run in the file ``path``; ``close`` it when the run ends.

    Raises:
        LedgerError: The file cannot be used, or does not know the run that is asked for.
        ConfigError: The table of prices is wrong.
    """
    table = PriceTable.load(prices)
    store = Ledger.open(path, durability=durability)
    try:
        return RunLedger(store, run_id, name=name, prices=table, **options)
    except BaseException:
        store.close()
        raise
