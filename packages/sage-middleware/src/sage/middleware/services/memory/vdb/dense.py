"""Vector search over a view: plan, propose candidates, score exactly.

The plan depends on how many rows can match:

- ``gather``: at most ``GATHER_ROWS`` rows match: score exactly these.
- ``exact``: the metric or the size gives a scan engine no advantage: score every row.
- ``scan``: an engine proposes candidates among the matching rows, their exact scores decide.
  Above ``IVF_ROWS`` rows the engine is an inverted file, built in the background; the flat engine
  answers until it is ready.

Rows newer than the engine are scored exactly beside it.
"""

from __future__ import annotations

import threading
from typing import Literal, get_args

import attrs
import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.storage.vector_file import VectorFile
from sage.middleware.services.memory.vdb.engine_registry import engine_class
from sage.middleware.services.memory.vdb.engines import (
    FloatArray,
    ScanEngine,
    Slots,
    default_engine,
    pick_sample,
)
from sage.middleware.services.memory.vdb.filters import BoolArray
from sage.middleware.services.memory.vdb.metrics import Metric, scores
from sage.middleware.services.memory.vdb.state import View

GATHER_ROWS = 8192
IVF_ROWS = 500_000
_BLOCK_ROWS = 16_384
_FOLD_AT_QUERY = 512
_FOLD_AT_WRITE = 4096
_RECALIBRATE_GROWTH = 4

Strategy = Literal["auto", "exact", "scan"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


@attrs.frozen(kw_only=True)
class Plan:
    """How one query is answered.

    Attributes:
        strategy: ``gather``, ``exact`` or ``scan``; ``none`` if nothing can match.
        matching: Rows that can match.
        engine: Name of the scan engine, if one is used.
        candidates: Candidates the engine proposes.
        tail: Rows newer than the engine, scored exactly.
    """

    strategy: str
    matching: int
    engine: str | None = None
    candidates: int = 0
    tail: int = 0


class Allowed:
    """Which rows may be returned: the living ones, those of a filter, or both."""

    __slots__ = ("_bits", "_slots", "view")

    def __init__(
        self, view: View, bits: BoolArray | None = None, slots: Slots | None = None
    ) -> None:
        if slots is not None and view.dead:
            slots = slots[view.alive[slots]]
        if bits is not None and view.dead:
            bits = bits & view.alive
        self.view = view
        self._bits = bits
        self._slots = slots

    @property
    def everything(self) -> bool:
        """No row is excluded."""
        return self._bits is None and self._slots is None and not self.view.dead

    @property
    def matching(self) -> int:
        """Rows that may be returned."""
        if self._slots is not None:
            return len(self._slots)
        if self._bits is not None:
            return int(np.count_nonzero(self._bits))
        return self.view.live

    def bits(self) -> BoolArray:
        """As a mask over the view's slots."""
        if self._bits is None:
            if self._slots is None:
                return self.view.alive
            self._bits = np.zeros(self.view.count, np.bool_)
            self._bits[self._slots] = True
        return self._bits

    def slots(self) -> Slots:
        """As slots, ascending."""
        if self._slots is None:
            self._slots = np.flatnonzero(self.bits())
        return self._slots


@attrs.frozen
class EngineChoice:
    """Which engine a collection uses.

    Attributes:
        fixed: Always this one, or ``None`` to choose by size.
        ivf_rows: Rows from which the inverted file is used.
    """

    fixed: str | None = None
    ivf_rows: int = IVF_ROWS

    @property
    def flat(self) -> str:
        """The engine to start with."""
        return self.fixed or default_engine()

    def name(self, count: int) -> str:
        """The engine for a collection of ``count`` slots."""
        if self.fixed is not None:
            return self.fixed
        return "ivf" if count >= self.ivf_rows else default_engine()


class Engine:
    """A scan engine with its vector file, kept up with the collection.

    Args:
        choice: Which engine, by size or fixed.
        vectors: The rows.
    """

    def __init__(self, choice: EngineChoice, vectors: VectorFile) -> None:
        self._choice = choice
        self._vectors = vectors
        self._lock = threading.Lock()
        self._calibrated = 0
        self._builder: threading.Thread | None = None
        self.scan: ScanEngine | None = None

    @property
    def count(self) -> int:
        """Slots the engine covers."""
        return 0 if self.scan is None else self.scan.count

    @property
    def calibrated(self) -> int:
        """Slots there were when the engine was calibrated."""
        return self._calibrated

    def restore(self, scan: ScanEngine, calibrated: int) -> None:
        """Take an engine from a snapshot."""
        self.scan = scan
        self._calibrated = calibrated

    def follow(self, view: View, slack: int) -> ScanEngine:
        """The engine, covering all but at most about ``slack`` of the view's slots."""
        scan = self.scan
        if scan is None or view.count - scan.count > slack:
            # Who finds another thread at it waits: it would do the same work.
            with self._lock:
                scan = self.scan
                wanted = self._choice.name(view.count)
                if scan is None:
                    # A first answer soon: the inverted file takes its time to learn.
                    scan = self._build(view, self._choice.flat)
                elif scan.name == wanted and view.count > _RECALIBRATE_GROWTH * self._calibrated:
                    scan = self._build(view, wanted)
                elif view.count - scan.count > slack:
                    self._fold(scan, view.count)
                if scan.name != wanted:
                    self._replace_later(view, wanted)
        return scan

    def _build(self, view: View, name: str) -> ScanEngine:
        scan = self._learn(view, name)
        self._fold(scan, view.count)
        self._calibrated = view.count
        self.scan = scan
        return scan

    def _learn(self, view: View, name: str) -> ScanEngine:
        rows = self._vectors.rows(view.count)
        kind = engine_class(name)
        picks = pick_sample(np.flatnonzero(view.alive), kind.sample_rows(view.live))
        return kind(self._vectors.dim, rows[picks])

    def _replace_later(self, view: View, name: str) -> None:
        if self._builder is None or not self._builder.is_alive():
            self._builder = threading.Thread(
                target=self._replace, args=(view, name), name="sage-memory-index", daemon=True
            )
            self._builder.start()

    def _replace(self, view: View, name: str) -> None:
        scan = self._learn(view, name)
        self._fold(scan, view.count)
        with self._lock:
            if self.scan is not None:
                self._fold(scan, max(view.count, self.scan.count))
            self.scan = scan
            self._calibrated = view.count

    def wait(self) -> None:
        """Wait for the engine that is being built in the background, if one is."""
        builder = self._builder
        if builder is not None:
            builder.join()

    def _fold(self, scan: ScanEngine, count: int) -> None:
        rows = self._vectors.rows(count)
        for start in range(scan.count, count, _BLOCK_ROWS):
            scan.add(np.ascontiguousarray(rows[start : min(count, start + _BLOCK_ROWS)]))


class DenseSearch:
    """Search of one collection's vectors.

    Args:
        metric: How vectors are compared.
        choice: Which scan engine.
    """

    def __init__(self, metric: Metric, choice: EngineChoice) -> None:
        self.metric = metric
        self.choice = choice

    def vectors(self, view: View) -> VectorFile:
        """The vector file of the view's generation."""
        file: VectorFile = view.generation.parts["vectors"]
        return file

    def engine(self, view: View) -> Engine:
        """The engine of the view's generation, empty at first."""
        parts = view.generation.parts
        found = parts.get("engine")
        if found is None:
            with view.generation.lock:
                found = parts.get("engine")
                if found is None:
                    found = parts["engine"] = Engine(self.choice, self.vectors(view))
        return found

    def uses_engine(self, view: View) -> bool:
        """Whether an engine helps at this size and metric."""
        return self.metric != "l2" and view.count > GATHER_ROWS

    def after_write(self, view: View) -> None:
        """Keep the engine near the collection, so that no query pays for a large batch."""
        if self.uses_engine(view):
            engine = self.engine(view)
            if view.count - engine.count > _FOLD_AT_WRITE:
                engine.follow(view, 0)

    def plan(self, allowed: Allowed, topk: int, strategy: str = "auto") -> Plan:
        """How a query would be answered."""
        if strategy not in STRATEGIES:
            raise InvalidInputError(
                f"strategy is {strategy!r}; expected one of {', '.join(STRATEGIES)}"
            )
        matching = allowed.matching
        view = allowed.view
        if matching == 0:
            return Plan(strategy="none", matching=0)
        if strategy != "scan":
            if matching <= max(GATHER_ROWS, topk) and not (
                allowed.everything or 2 * matching > view.count
            ):
                return Plan(strategy="gather", matching=matching)
            if strategy == "exact" or not self.uses_engine(view):
                return Plan(strategy="exact", matching=matching)
        if topk * 4 > matching:
            return Plan(strategy="exact", matching=matching)
        scan = self.engine(view).follow(view, _FOLD_AT_QUERY)
        return Plan(
            strategy="scan",
            matching=matching,
            engine=scan.name,
            candidates=max(topk * scan.oversample, topk + 20),
            tail=max(0, view.count - scan.count),
        )

    def search(
        self, query: FloatArray, allowed: Allowed, topk: int, strategy: str = "auto"
    ) -> tuple[Slots, FloatArray]:
        """The ``topk`` best slots with exact scores, best first, equal scores by slot."""
        plan = self.plan(allowed, topk, strategy)
        if plan.strategy == "none":
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows = self.vectors(allowed.view).rows(allowed.view.count)
        if plan.strategy == "gather":
            slots = allowed.slots()
            return best(slots, scores(self.metric, rows[slots], query), topk)
        if plan.strategy == "exact":
            return self._exact(rows, query, allowed, topk)
        scan = self.engine(allowed.view).scan
        assert scan is not None
        mask = None if allowed.everything else allowed.bits()
        slots = scan.candidates(query, min(plan.candidates, plan.matching), mask)
        slots = slots[slots < allowed.view.count]
        covered = min(scan.count, allowed.view.count)
        if plan.tail and covered < allowed.view.count:
            tail = np.arange(covered, allowed.view.count)
            if mask is not None:
                tail = tail[mask[covered:]]
            slots = np.concatenate([slots[slots < covered], tail])
        return best(slots, scores(self.metric, rows[slots], query), topk)

    def _exact(
        self, rows: FloatArray, query: FloatArray, allowed: Allowed, topk: int
    ) -> tuple[Slots, FloatArray]:
        bits = None if allowed.everything else allowed.bits()
        found: list[tuple[Slots, FloatArray]] = []
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            if bits is None:
                slots = np.arange(start, start + len(block))
            else:
                slots = np.flatnonzero(bits[start : start + len(block)]) + start
                if 2 * len(slots) < len(block):
                    block = rows[slots]
            points = scores(self.metric, block, query)
            if len(points) != len(slots):
                points = points[slots - start]
            found.append(best(slots, points, topk))
        return best(
            np.concatenate([s for s, _ in found]), np.concatenate([p for _, p in found]), topk
        )


def best(slots: npt.NDArray[np.int64], points: FloatArray, topk: int) -> tuple[Slots, FloatArray]:
    """The ``topk`` best, best first, equal scores by slot."""
    if topk < len(points):
        edge = np.partition(points, len(points) - topk)[len(points) - topk]
        picks = np.flatnonzero(points >= edge)
        slots, points = slots[picks], points[picks]
    order = np.lexsort((slots, -points))[:topk]
    return slots[order], points[order]
