"""Asynchronous steps: long-lived workers on the event loop, one in-flight budget per segment.

Workers are made one by one as long as items wait, up to the width of the segment; each takes an
item, awaits the one coroutine of all fused steps, and releases the result, in the order of the
input unless the step says ``ordered=False``. Nothing here makes a task per item.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sage.kernel.compiler.codegen import SegmentCode
from sage.kernel.ledger.current import CURRENT, Current
from sage.kernel.runtime.channel import Channel, ChannelAborted
from sage.kernel.runtime.failure import TaskAbort, task_failed
from sage.kernel.runtime.gate import BARRIER
from sage.kernel.runtime.loop import JobLoop
from sage.kernel.runtime.pending import Pending
from sage.kernel.runtime.release import Release, Result
from sage.kernel.runtime.task import Task

if TYPE_CHECKING:
    from sage.kernel.runtime.snapshots import Saved

REORDER = 1024
"""Finished items that may wait for an earlier one; more than that only with a wider segment."""


class AsyncTask(Task):
    """See the module."""

    asynchronous = True

    def prepare(self) -> None:
        super().prepare()
        self._local: deque[tuple[int, int, Any, Any]] = deque()
        self._seq = 0
        self._idle: list[asyncio.Future[None]] = []
        self._rooms: list[asyncio.Future[None]] = []
        self._held: list[asyncio.Future[None]] = []
        self._workers: dict[asyncio.Task[None], int] = {}
        self._failed: tuple[int, BaseException] | None = None
        self._canceled = False
        self._busy = 0
        self._active_since: float | None = None
        self.active_seconds = 0.0
        self._runs: dict[int, Any] = {}
        self._pending: Pending | None = None
        self._draining: int | None = None
        if self.job.checkpoints is not None:
            self._pending = Pending(self.segment.ordered)

    def connect(self, loop: JobLoop) -> None:
        """Bind the channels to the loop. Called before any task starts."""
        self._loop = loop.loop
        self._done: asyncio.Future[None] | None = None
        for _, channel in self.inputs:
            channel.notify_with(self._notify)
        self._wide = max(REORDER, 4 * self.segment.width)

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready)
        except RuntimeError:  # the loop was closed: the job is over
            return

    async def run(self) -> None:
        """Body of the task."""
        self.started = perf_counter()
        opened = False
        try:
            await self.functions.open_async()
            opened = True
            self.opened()
            handler = self.make_handler(self.functions)
            env = self.code_env(self.functions, handler)
            for at, (plan, _) in enumerate(self.inputs):
                code = SegmentCode(self.plan, self.segment, profile=True)
                generated = code.item(self.plan.nodes[plan.target], plan.index)
                self._runs[at] = self.load(generated, env, f"item-{plan.target}-{plan.index}")
            puts = {cid: self._offer(cid, channels) for cid, channels in self.outputs.items()}
            keyed = {cid for cid in self.outputs if self.plan.channels[cid].keyed}
            self.release = Release(puts, keyed, self.outputs, self.segment.ordered)
            self._done = self._loop.create_future()
            self._ready()
            await self._done
            if self._failed is not None:
                raise self._failed[1]
            if self._canceled:
                raise ChannelAborted
            if self._pending is not None and not self.job.stopping:
                self.final = {**self._save_functions(), **self.save_letters(set())}
        finally:
            self.ended = perf_counter()
            errors = await self.functions.close_async()
            if errors and self._failed is None and opened:
                self.job.closing_failed(errors[0])

    def _offer(self, cid: int, channels: list[Channel]) -> Any:
        plan = self.plan.channels[cid]
        puts = [c.offer_counted if plan.counted else c.offer for c in channels]
        return self.distribute(plan, puts, channels)

    # ------------------------------------------------------------------ workers

    def _ready(self) -> None:
        """Records, an end of input or room for a worker: wake or make one."""
        if self._done is None or self._done.done():
            return
        if self._pending is not None:
            self._meet_barriers()
        self._more()
        if not self._workers:
            self._check_end()

    def _more(self) -> None:
        if self._failed is not None or self._canceled:
            return
        if self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
        elif len(self._workers) < self.segment.width and self._has_items():
            worker = self._loop.create_task(self._work())
            self._workers[worker] = -1
            worker.add_done_callback(self._worker_done)

    def _has_items(self) -> bool:
        if self._local:
            return True
        if self._draining is not None:
            return False
        for _, channel in self.inputs:
            if channel.items and channel.barrier is None:
                return True
            channel.waiting = True
            if channel.items and channel.barrier is None:
                channel.waiting = False
                return True
        return False

    def _next(self) -> tuple[int, int, Any, Any] | None:
        """Sequence number, input, item, position; ``None`` when nothing is there."""
        if self._draining is not None or not (self._local or self._take()):
            return None
        if self._draining is not None:  # since a moment ago
            return None
        entry = self._local.popleft()
        if self._pending is not None:
            self._pending.add(entry[0], entry)
        return entry

    def _take(self) -> bool:
        """Take a batch of one input; whether there was any."""
        while True:
            shut = False
            for at, (_, channel) in enumerate(self.inputs):
                if self._take_from(at, channel, min(64, (channel.limit + 1) // 2)):
                    return True
                channel.waiting = True
                if channel.items and channel.barrier is None:
                    channel.waiting = False
                    if self._take_from(at, channel, min(64, (channel.limit + 1) // 2)):
                        return True
                shut = shut or channel.shut
            if not shut or not self._aligned():
                return bool(self._local)

    def _take_from(self, at: int, channel: Channel, most: int) -> bool:
        batch = channel.take(most)
        if not batch:
            return False
        if self.loop_log is not None:
            self.loop_log.came(at, batch)
        source = channel.lineage.slice(channel.taken - len(batch), len(batch))
        lineage, offset = source if source is not None else (None, 0)
        keyed = self.inputs[at][0].keyed
        for i, item in enumerate(batch):
            self._local.append((self._seq, at, item[1] if keyed else item, (lineage, offset + i)))
            self._seq += 1
        return True

    # ------------------------------------------------------------------ checkpoints

    def _meet_barriers(self) -> None:
        """Come to barriers early: what is before them is saved as pending, not waited for.

        No more than a channel's worth of records is taken ahead for that.
        """
        if self._draining is not None:
            return
        for at, (_, channel) in enumerate(self.inputs):
            while (
                channel.marked != channel.passed
                and channel.barrier is None
                and len(self._local) < channel.limit
            ):
                if not self._take_from(at, channel, channel.limit) and channel.barrier is None:
                    break
        while any(channel.shut for _, channel in self.inputs) and self._aligned():
            pass

    def _aligned(self) -> bool:
        """Answer a barrier that has come through all inputs; whether one had."""
        assert self.gate is not None
        if self._draining is not None or (come := self.gate.aligned()) is None:
            return False
        what, facts = come
        if what == BARRIER:
            if self._busy and not self.may_overtake(facts[0].id):
                self._draining = facts[0].id
            else:
                self._answer(facts[0].id)
        elif self.loop_log is not None:
            self.loop_log.returned(facts[1], facts[0].id)
        return True

    def _answer(self, checkpoint: int) -> None:
        try:
            self.answer(checkpoint, {**self._save_functions(), **self._save_pending()})
        except Exception as error:  # noqa: BLE001 - the task boundary
            self._failed = self._failed or (-1, error)
            self.job.stop_sources()
            self._stop_workers(-1)

    def _drained(self) -> None:
        """The last call in flight has ended: answer the barrier that waited for it."""
        checkpoint, self._draining = self._draining, None
        if checkpoint is not None and self._failed is None and not self._canceled:
            self._answer(checkpoint)
            self._loop.call_soon(self._ready)

    def _save_pending(self) -> dict[str, bytes]:
        assert self._pending is not None
        entries = [*self._pending.entries(), *self._local]
        records = [(at, lineage, offset, [v]) for _, at, v, (lineage, offset) in entries]
        return self.save_pending(records)

    def _save_functions(self) -> dict[str, bytes]:
        from sage.kernel.runtime.snapshots import save_functions  # noqa: PLC0415 - as above

        return save_functions(self.segment.nodes, self.functions, self.subtask)

    def restore(self, saved: Saved) -> None:
        from sage.kernel.runtime.snapshots import restore_functions  # noqa: PLC0415 - as above

        restore_functions(saved, self.segment.nodes, self.functions, self.subtask, 1)
        self.restore_letters(saved)

    # ------------------------------------------------------------------ one worker

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while self._failed is None and not self._canceled:
            await self._room()
            if self._failed is not None or self.useless():
                self._local.clear()
                self.drop_inputs()
                return
            taken = self._next()
            if taken is None:
                if self.guard is not None:
                    self.guard.check()
                if self._at_end():
                    return
                waiter: asyncio.Future[None] = self._loop.create_future()
                self._idle.append(waiter)
                await waiter
                continue
            seq, at, value, position = taken
            self._workers[me] = seq
            if self._has_items():
                self._more()
            outs: list[tuple[int, Any]] = []
            CURRENT.set(Current(*position))
            self._enter()
            try:
                await self._runs[at](value, outs.append, position)
            except TaskAbort as abort:
                self._fail(seq, abort, [(*position, outs)])
                return
            except asyncio.CancelledError as error:
                if self._canceled or self._failed is not None:
                    raise
                # Raised inside of the step (a task of its own was canceled): an error as any other.
                node = self.plan.nodes[self.inputs[at][0].target]
                where = self.locate(position)
                failed = task_failed(self.job.name, node, where, value, error)
                self._fail(seq, TaskAbort(failed), [(*position, outs)])
                return
            finally:
                self._busy -= 1
                if self._busy == 0 and self._active_since is not None:
                    self.active_seconds += perf_counter() - self._active_since
                    self._active_since = None
            results: list[Result] = [(*position, outs)] if outs else []
            self.release.add(seq, results)
            if self._pending is not None:
                self._pending.done(seq, self.release.next)
                if self._draining is not None and self._busy == 0:
                    self._drained()
            self.inputs[at][1].completed += 1
            if self._held:
                self._wake_held()

    def _enter(self) -> None:
        if self._busy == 0:
            self._active_since = perf_counter()
        self._busy += 1

    async def _room(self) -> None:
        """Backpressure: wait while an output is full or too much waits for an earlier item."""
        while self.release.behind >= self._wide and not self._canceled and self._failed is None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._held.append(waiter)
            await waiter
        for channels in self.outputs.values():
            for channel in channels:
                while channel.full(self._notify_room) and not self._canceled:
                    started = perf_counter()
                    room: asyncio.Future[None] = self._loop.create_future()
                    self._rooms.append(room)
                    await room
                    channel.blocked_seconds += perf_counter() - started

    def _wake_held(self) -> None:
        held, self._held = self._held, []
        for waiter in held:
            if not waiter.done():
                waiter.set_result(None)

    def _notify_room(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake_rooms)
        except RuntimeError:  # the loop was closed: the job is over
            return

    def _wake_rooms(self) -> None:
        rooms, self._rooms = self._rooms, []
        for room in rooms:
            if not room.done():
                room.set_result(None)

    # ------------------------------------------------------------------ ending

    def _worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.pop(worker, None)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._failed = self._failed or (-1, error)
            self._stop_workers(-1)
        self._check_end()

    def _check_end(self) -> None:
        assert self._done is not None
        if self._done.done():
            return
        over = self._failed is not None or self._canceled
        if over or self._at_end():
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()
            if not self._workers:
                self._done.set_result(None)

    def _at_end(self) -> bool:
        return (
            not self._local
            and self._draining is None
            and all(channel.ended for _, channel in self.inputs)
        )

    def _fail(self, seq: int, abort: TaskAbort, partial: list[Result]) -> None:
        """Items before the failing one still go out; those after it are canceled."""
        if self._failed is None or seq < self._failed[0]:
            self._failed = (seq, abort)
            self.release.stop_at = seq
        self.job.stop_sources()
        self._local.clear()
        self.release.add(seq, partial)
        self._stop_workers(seq if self.segment.ordered else self._seq)

    def _stop_workers(self, after: int) -> None:
        current = asyncio.current_task()
        for worker, seq in list(self._workers.items()):
            if seq > after and worker is not current:
                worker.cancel()
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        self._wake_rooms()
        self._wake_held()

    def abort(self) -> None:
        super().abort()

        def cancel() -> None:
            self._canceled = True
            for worker in list(self._workers):
                worker.cancel()
            if self._done is not None:
                self._check_end()

        try:
            self._loop.call_soon_threadsafe(cancel)
        except RuntimeError:  # the loop was closed: the job is over
            return

    def async_idle(self, now: float) -> float:
        active = self.active_seconds
        if self._active_since is not None:
            active += now - self._active_since
        return max(0.0, (self.ended or now) - self.started - active)

    def in_flight(self) -> int:
        return self._busy
