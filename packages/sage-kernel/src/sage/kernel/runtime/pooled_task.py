"""Several threads that share one inbox: parallel steps, vectorised steps, steps in processes.

Each worker takes a chunk under the lock, works on it without the lock and releases its results, in
the order of the input unless the step says ``ordered=False``. When an item fails for good, all
items before it are still put out.
"""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from sage.common.errors import StepTimeoutError
from sage.kernel.compiler import traits
from sage.kernel.compiler.codegen import SegmentCode
from sage.kernel.graph.model import DEFAULT_ROUTE, Node
from sage.kernel.ledger.current import CURRENT, Current
from sage.kernel.runtime.binding import Functions, TimedCall
from sage.kernel.runtime.channel import ChannelAborted
from sage.kernel.runtime.failure import SKIP, FailureHandler, TaskAbort, no_route
from sage.kernel.runtime.gate import BARRIER, LOOPED, TIMER
from sage.kernel.runtime.lineage import Lineage
from sage.kernel.runtime.pending import Pending
from sage.kernel.runtime.release import Release, Result
from sage.kernel.runtime.task import Task
from sage.kernel.scheduling.owner import OWNER

if TYPE_CHECKING:
    from sage.kernel.runtime.snapshots import Saved

WINDOW = 4
"""Chunks per worker that may be finished before the oldest one is."""


class Chunk:
    """Records a worker took together."""

    __slots__ = ("index", "items", "lineage", "node", "offset", "seq")

    def __init__(
        self, seq: int, items: list[Any], lineage: tuple[Lineage, int] | None, at: int
    ) -> None:
        self.seq = seq
        self.items = items
        self.lineage: Lineage | None = lineage[0] if lineage is not None else None
        self.offset = lineage[1] if lineage is not None else 0
        self.index = at


class PooledTask(Task):
    """See the module. Subclasses say how a worker works on a chunk."""

    def prepare(self) -> None:
        super().prepare()
        self._taking = threading.Lock()
        self._turn = threading.Condition()
        self._sending = threading.Lock()
        self._seq = 0
        self._most = 1
        self._failed: tuple[int, TaskAbort] | None = None
        self._exhausted = False
        self._working = 0
        self._crashed = False
        self._opened = 0
        self._finals: dict[str, bytes] = {}
        self._ahead: deque[tuple[int, list[Any], tuple[Lineage, int] | None]] = deque()
        self._due: tuple[int, list[Any]] | None = None
        self._pending: Pending | None = None
        if self.job.checkpoints is not None:
            self._pending = Pending(self.segment.ordered)
        for nth in range(1, self.workers_here()):
            self.all_functions.append(self.make_functions(nth))
        puts = {cid: self._put(cid, channels) for cid, channels in self.outputs.items()}
        keyed = {cid for cid in self.outputs if self.plan.channels[cid].keyed}
        self.release = Release(puts, keyed, self.outputs, self.segment.ordered)

    def workers_here(self) -> int:
        """How many sets of functions this side needs."""
        return self.segment.width

    def run(self) -> None:
        """Body of the first worker's thread; starts and joins the others."""
        self.started = perf_counter()
        crashed: list[BaseException] = []

        def work(nth: int) -> None:
            OWNER.set(self.job.owner)
            try:
                self._worker(nth)
            except BaseException as error:  # noqa: BLE001 - re-raised by the first worker
                crashed.append(error)
                with self._turn:
                    self._exhausted = True
                    self._turn.notify_all()
                if not isinstance(error, ChannelAborted):
                    self.job.stop_sources()

        others = [
            threading.Thread(
                target=work, args=(nth,), name=f"sage-{self.segment.name}-{nth}", daemon=True
            )
            for nth in range(1, self.segment.width)
        ]
        for thread in others:
            thread.start()
        work(0)
        for thread in others:
            thread.join()
        self.ended = perf_counter()
        if self._failed is not None:
            raise self._failed[1]
        if crashed:
            raise crashed[0]
        if self._pending is not None and not self.job.stopping:
            self.final = {**self._finals, **self.save_letters(set())}

    def _worker(self, nth: int) -> None:
        functions = self.all_functions[nth % len(self.all_functions)]
        worker: Worker = self.make_worker(functions, self.make_handler(functions), nth)
        try:
            try:
                worker.open()
            except BaseException:
                self._crashed = True
                raise
            with self._turn:
                self._opened += 1
                self._turn.notify_all()
            if nth == 0:
                self.opened()
            while (chunk := self._take()) is not None:
                started = perf_counter()
                results: list[Result] = []
                try:
                    worker.work(chunk, results)
                except TaskAbort as abort:
                    self._fail(chunk, results, abort)
                    return
                self._give(chunk, results)
                self._adapt(len(chunk.items), perf_counter() - started)
            if self._pending is not None and nth < len(self.all_functions):
                self._finals.update(self._save_functions(nth))
        finally:
            worker.close()

    def make_worker(self, functions: Functions, handler: FailureHandler, nth: int) -> Worker:
        """What one thread does; overridden."""
        raise NotImplementedError

    def batch_limits(self) -> tuple[int, float | None]:
        """Most records per chunk and seconds to wait for a chunk to fill."""
        return self._most, None

    # ------------------------------------------------------------------ taking and giving

    def _take(self) -> Chunk | None:
        gate = self.gate
        assert gate is not None
        with self._taking:
            with self._turn:
                while (
                    self.segment.ordered
                    and not self._exhausted
                    and self._failed is None
                    and self._seq - self.release.next >= WINDOW * self.segment.width
                ):
                    self._turn.wait()
            if self._exhausted or self._failed is not None or self.useless():
                return None
            taken = self._records(*self.batch_limits())
            if taken is None:
                self._exhausted = True
                return None
            chunk = Chunk(self._seq, *taken)
            self._seq += 1
            with self._turn:
                self._working += len(chunk.items)
                if self._pending is not None:
                    self._pending.add(chunk.seq, chunk)
            return chunk

    def _records(
        self, most: int, linger: float | None
    ) -> tuple[list[Any], tuple[Lineage, int] | None, int] | None:
        """Records for a chunk: items, lineage, input. Answers barriers on the way."""
        gate = self.gate
        assert gate is not None
        while True:
            if self._pending is not None:
                self._meet_barriers()
            if self._ahead:
                return self._from_ahead(most)
            taken = gate.next(most)
            if taken is None:
                return None
            at, items = taken
            if at >= 0:
                break
            self._not_records(at, items)
        if self.loop_log is not None:
            self.loop_log.came(at, items)
        channel = self.inputs[at][1]
        first = channel.taken - len(items)
        if linger and len(items) < most:
            deadline = time() + linger
            while len(items) < most:
                more = gate.next(most - len(items), deadline)
                if more is None or more[0] == TIMER:
                    break
                if more[0] != at:
                    self._put_back(*more)
                    break
                if self.loop_log is not None:
                    self.loop_log.came(*more)
                items = items + more[1]
        return items, channel.lineage.slice(first, len(items)), at

    # ------------------------------------------------------------------ checkpoints

    def _meet_barriers(self) -> None:
        """Come to barriers early: what is before them is saved as pending, not waited for.

        No more than a channel's worth of records is taken ahead for that.
        """
        if self._due is not None:
            due, self._due = self._due, None
            self._not_records(*due)
        marked = False
        for at, (_, channel) in enumerate(self.inputs):
            marked = marked or channel.marked != channel.passed
            while (
                channel.marked != channel.passed
                and channel.barrier is None
                and sum(len(entry[1]) for entry in self._ahead) < channel.limit
                and (batch := channel.take(channel.limit))
            ):
                self._put_back(at, batch)
        assert self.gate is not None
        while marked and (come := self.gate.aligned()) is not None:
            self._not_records(*come)

    def _put_back(self, at: int, items: list[Any]) -> None:
        """Keep what was just taken for a later chunk."""
        if at < 0:
            self._due = (at, items)
            return
        if self.loop_log is not None:
            self.loop_log.came(at, items)
        channel = self.inputs[at][1]
        lineage = channel.lineage.slice(channel.taken - len(items), len(items))
        self._ahead.append((at, items, lineage))

    def _from_ahead(self, most: int) -> tuple[list[Any], tuple[Lineage, int] | None, int]:
        at, items, source = self._ahead.popleft()
        if len(items) > most:
            rest = None if source is None else (source[0], source[1] + most)
            self._ahead.appendleft((at, items[most:], rest))
        return items[:most], source, at

    def _not_records(self, what: int, facts: list[Any]) -> None:
        if what == BARRIER:
            with self._turn:
                while self._opened < self.segment.width and not self._exhausted:
                    self._turn.wait()  # the state of a function begins with its open()
                drain = not self.may_overtake(facts[0].id)
                while drain and self._working and self._failed is None:
                    self._turn.wait()
                parts = self._save_pending()
                for nth in range(len(self.all_functions)):
                    parts.update(self._save_functions(nth))
                self.answer(facts[0].id, parts)
        elif what == LOOPED and self.loop_log is not None:
            self.loop_log.returned(facts[1], facts[0].id)

    def _save_pending(self) -> dict[str, bytes]:
        assert self._pending is not None
        taken = [(c.index, c.lineage, c.offset, c.items) for c in self._pending.entries()]
        for at, items, source in self._ahead:
            lineage, offset = source if source is not None else (None, 0)
            taken.append((at, lineage, offset, items))
        return self.save_pending(taken)

    def _save_functions(self, nth: int) -> dict[str, bytes]:
        from sage.kernel.runtime.snapshots import save_functions  # noqa: PLC0415 - as above

        return save_functions(self.segment.nodes, self.all_functions[nth], nth)

    def restore(self, saved: Saved) -> None:
        from sage.kernel.runtime.snapshots import restore_functions  # noqa: PLC0415 - as above

        count = len(self.all_functions)
        for nth, functions in enumerate(self.all_functions):
            restore_functions(saved, self.segment.nodes, functions, nth, count)
        self.restore_letters(saved)

    # ------------------------------------------------------------------ giving

    def _give(self, chunk: Chunk, results: list[Result]) -> None:
        with self._turn:
            self._working -= len(chunk.items)
            self.release.add(chunk.seq, results)
            if self._pending is not None:
                self._pending.done(chunk.seq, self.release.next)
            self.inputs[chunk.index][1].completed += len(chunk.items)
            self._turn.notify_all()

    def _fail(self, chunk: Chunk, results: list[Result], abort: TaskAbort) -> None:
        """Items before the failing one go out; those after it do not."""
        with self._turn:
            self._working -= len(chunk.items)
            if self._failed is None or chunk.seq < self._failed[0]:
                self._failed = (chunk.seq, abort)
                self.release.stop_at = chunk.seq
            self.job.stop_sources()
            self.release.add(chunk.seq, results)
            self._turn.notify_all()

    def _adapt(self, count: int, seconds: float) -> None:
        if seconds < 0.0005 and count >= self._most and self._most < 256:
            self._most *= 2
        elif seconds > 0.002 and self._most > 1:
            self._most = max(1, self._most // 2)

    def closing_failed(self, error: Exception) -> None:
        """A worker could not close a step; what failed before counts more."""
        if self._failed is None and not self._crashed:
            self.job.closing_failed(error)

    def send_letter(self, node: Node, letter: dict[str, Any]) -> None:
        with self._sending:
            super().send_letter(node, letter)

    def in_flight(self) -> int:
        return self._working


class Worker:
    """One thread of a pooled task."""

    def __init__(self, task: PooledTask, functions: Functions, handler: FailureHandler) -> None:
        self.task = task
        self.functions = functions
        self.handler = handler

    def open(self) -> None:
        self.functions.open()

    def work(self, chunk: Chunk, results: list[Result]) -> None:
        """Append a result per item of the chunk; raise ``TaskAbort`` at one that fails."""
        raise NotImplementedError

    def close(self) -> None:
        errors = self.functions.close()
        if errors:
            self.task.closing_failed(errors[0])


class ItemWorker(Worker):
    """Runs the generated code item by item."""

    def __init__(self, task: PooledTask, functions: Functions, handler: FailureHandler) -> None:
        super().__init__(task, functions, handler)
        self._env = task.code_env(functions, handler)
        self._runs: dict[tuple[int, bool], Any] = {}
        self._timed = True

    def work(self, chunk: Chunk, results: list[Result]) -> None:
        task = self.task
        run = self._runs.get((chunk.index, self._timed))
        plan = task.inputs[chunk.index][0]
        if run is None:
            code = SegmentCode(task.plan, task.segment, profile=self._timed)
            generated = code.item(task.plan.nodes[plan.target], plan.index)
            label = f"item-{plan.target}-{plan.index}{'-timed' if self._timed else ''}"
            run = self._runs[chunk.index, self._timed] = task.load(generated, self._env, label)
        lineage, offset = chunk.lineage, chunk.offset
        started = perf_counter()
        for i, item in enumerate(chunk.items):
            if task.job.canceled:
                raise ChannelAborted
            outs: list[tuple[int, Any]] = []
            CURRENT.set(Current(lineage, offset + i))
            if plan.keyed:
                item = item[1]  # noqa: PLW2901 - the key is for partitioning only
            run(item, outs.append, (lineage, offset + i))
            if outs:
                results.append((lineage, offset + i, outs))
        self._timed = perf_counter() - started > 2e-5 * len(chunk.items)


class ParallelTask(PooledTask):
    """A chain of sync steps in several threads."""

    def make_worker(self, functions: Functions, handler: FailureHandler, nth: int) -> Worker:
        return ItemWorker(self, functions, handler)


class BatchWorker(Worker):
    """Runs one step on whole chunks; ``call`` gives ``(ok, value or exception)`` per item."""

    task: CountingTask

    def __init__(self, task: CountingTask, functions: Functions, handler: FailureHandler) -> None:
        super().__init__(task, functions, handler)
        self.node = task.segment.nodes[0]
        outputs = [channel for channel in task.segment.outputs if channel.id in task.outputs]
        self._targets = [channel.id for channel in outputs]
        self._ports = {channel.id: channel.port for channel in outputs}

    def call(self, items: list[Any]) -> list[tuple[bool, Any]]:
        raise NotImplementedError

    def work(self, chunk: Chunk, results: list[Result]) -> None:
        task, node = self.task, self.node
        items = (
            [item[1] for item in chunk.items] if task.inputs[chunk.index][0].keyed else chunk.items
        )
        started = perf_counter()
        CURRENT.set(Current(chunk.lineage, chunk.offset, len(items)))
        outcomes = self.call(items)
        task.steps[node.id].observe_many(perf_counter() - started, len(items))
        for i, (item, (ok, value)) in enumerate(zip(items, outcomes, strict=True)):
            n = (chunk.lineage, chunk.offset + i)
            if ok and node.kind == "route" and not self._has_route(value):
                ok, value = False, no_route(node, value)  # noqa: PLW2901
            if not ok:
                value = self._rescue(item, value, n)  # noqa: PLW2901
                if value is SKIP:
                    continue
            outs = self._outputs(item, value)
            task.count(node, outs)
            if outs:
                results.append((chunk.lineage, chunk.offset + i, outs))

    def _has_route(self, name: Any) -> bool:
        return name in self.node.params["ports"] or DEFAULT_ROUTE in self._ports.values()

    def _outputs(self, item: Any, value: Any) -> list[tuple[int, Any]]:
        kind = self.node.kind
        if kind == "filter":
            return [(cid, item) for cid in self._targets] if value else []
        if kind == "flatmap":
            return [(cid, one) for one in value or () for cid in self._targets]
        if kind == "route":
            named = self.node.params.get("ports", ())
            port = value if value in named and value != DEFAULT_ROUTE else DEFAULT_ROUTE
            return [(cid, item) for cid in self._targets if self._ports[cid] == port]
        if kind == "sink":
            return []
        return [(cid, value) for cid in self._targets]

    def _rescue(self, item: Any, error: Exception, n: Any) -> Any:
        """Retry this one item as its policy says, then give it up as its policy says."""
        attempt, step = 1, self.task.steps[self.node.id]
        while (delay := self.handler.delay(self.node, attempt, error)) is not None:
            step.errors += 1
            step.retries += 1
            if not self.task.job.sleep(delay):
                raise ChannelAborted
            attempt += 1
            CURRENT.set(Current(*n, repeated=True))
            ok, value = self.call([item])[0]
            if ok:
                return value
            error = value
        fallback = self.functions.fallbacks.get(self.node.id)
        if fallback is not None:
            step.errors += 1
            step.fallbacks += 1
            try:
                return fallback(item)
            except Exception as second:  # noqa: BLE001 - the task boundary
                error = second
        return self.handler.fail_batch(self.node, item, error, n)


class CountingTask(PooledTask):
    """A pooled task of one step without generated code: counts for itself."""

    def prepare(self) -> None:
        super().prepare()
        self._put_out = 0

    def count(self, node: Any, outs: list[tuple[int, Any]]) -> None:
        """Add to the outputs of the step."""
        targets = max(1, len(self.outputs))
        self._put_out += len(outs) // targets if node.kind != "sink" else 1

    def flows(self) -> dict[int, tuple[int, int]]:
        taken = sum(channel.taken for _, channel in self.inputs)
        return {self.segment.nodes[0].id: (taken, self._put_out)}


class VectorWorker(BatchWorker):
    """Calls ``execute_batch`` (sync, or async on the job's loop); a timeout is for one batch."""

    def __init__(self, task: CountingTask, functions: Functions, handler: FailureHandler) -> None:
        super().__init__(task, functions, handler)
        self._timeout = self.node.options.timeout
        self._execute = functions.instances[self.node.id][0].execute_batch
        if task.job.recording is not None:
            context = functions.contexts[self.node.id]
            self._execute = task.job.recording.around_batch(self.node, self._execute, context)
        if self._timeout is not None and not is_async_batch(self._execute):
            self._execute = TimedCall(self._execute, self._timeout, self.node.name, CURRENT.get)

    def close(self) -> None:
        if isinstance(self._execute, TimedCall):
            self._execute.stop()
        super().close()

    def call(self, items: list[Any]) -> list[tuple[bool, Any]]:
        try:
            result = self._execute(items)
            if hasattr(result, "__await__"):
                result = self.task.job.loop().run(_awaited(result, self._timeout))
            values = list(result)
            if len(values) != len(items):
                raise ValueError(
                    f"execute_batch of {self.node.name!r} returned {len(values)} results for "
                    f"{len(items)} items"
                )
        except Exception as error:  # noqa: BLE001 - the task boundary
            if isinstance(error, TimeoutError) and not isinstance(error, StepTimeoutError):
                error = self._late(error)
            recorded = self.task.job.recording is not None  # per item: nothing is paid for twice
            if len(items) == 1 or (traits.has_effect(self.node) and not recorded):
                return [(False, error)] * len(items)
            # A pure batch is computed again item by item, so that only the bad one is lost.
            return self._one_by_one(items)
        return [(True, value) for value in values]

    def _one_by_one(self, items: list[Any]) -> list[tuple[bool, Any]]:
        whole = CURRENT.get()
        outcomes = []
        for i, item in enumerate(items):
            if whole is not None:
                CURRENT.set(whole.again(i))
            outcomes += self.call([item])
        return outcomes

    def _late(self, error: TimeoutError) -> Exception:
        if self._timeout is None:
            return error
        message = f"step {self.node.name!r} did not finish a batch within {self._timeout} s"
        return StepTimeoutError(message, step=self.node.name, timeout=self._timeout)


def is_async_batch(execute: Any) -> bool:
    """Whether ``execute_batch`` is ``async def``."""
    code = traits.code_of(execute)
    return code is not None and bool(code.co_flags & traits.CO_COROUTINE)


async def _awaited(result: Any, seconds: float | None) -> Any:
    import asyncio  # noqa: PLC0415 - runs on the loop, where it is loaded

    return await asyncio.wait_for(result, seconds)


class VectorTask(CountingTask):
    """A step with ``execute_batch``."""

    def make_worker(self, functions: Functions, handler: FailureHandler, nth: int) -> Worker:
        return VectorWorker(self, functions, handler)

    def batch_limits(self) -> tuple[int, float | None]:
        options = self.segment.nodes[0].options
        return options.batch_size or 256, options.linger
