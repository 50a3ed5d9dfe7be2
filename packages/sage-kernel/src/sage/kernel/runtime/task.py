"""What all tasks share: functions, generated code, channels, metrics, life cycle.

A task runs one subtask of one segment. Subclasses: ``sync_task`` (one thread), ``parallel_task``
(several threads), ``batch_task`` (vectorised steps and processes), ``async_task`` (the event
loop).
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.compiler import writer
from sage.kernel.compiler.model import ChannelPlan, ExecutionGraph, SegmentPlan
from sage.kernel.graph.model import DEAD_LETTER, Node
from sage.kernel.ledger.current import CURRENT, Named
from sage.kernel.runtime.binding import Functions
from sage.kernel.runtime.channel import Barrier, Channel, Signal
from sage.kernel.runtime.failure import SKIP, FailureHandler, TaskAbort, no_route, task_failed
from sage.kernel.runtime.gate import InputGate
from sage.kernel.runtime.lineage import Lineage
from sage.kernel.runtime.looplog import LoopLog
from sage.kernel.runtime.loops import LoopGuard
from sage.kernel.runtime.metrics import StepMetrics
from sage.kernel.runtime.tables import MISSING, Many, add_to, take_first

if TYPE_CHECKING:
    from sage.kernel.runtime.snapshots import Saved

HERE: Any = object()
"""Position of the record being worked on, wherever that is; see ``Task.record_id``."""


class Task:
    """One subtask of a segment.

    Attributes:
        inputs: Channels and their plans, by position in the gate.
        outputs: channel plan id -> channels (one per subtask of the target).
        letters: node id -> channels that take its dead letters.
        started: ``perf_counter`` at the start, for ratios.
        letter_ids: uid -> ids of the items that became dead letters of that step.
        final: What it saved when its input had ended, for the checkpoints that follow.
    """

    asynchronous = False

    def __init__(
        self, job: Any, plan: ExecutionGraph, segment: SegmentPlan, subtask: int, loop: Any
    ) -> None:
        self.job = job
        self.plan = plan
        self.segment = segment
        self.subtask = subtask
        self.signal = Signal()
        self.inputs: list[tuple[ChannelPlan, Channel]] = []
        self.outputs: dict[int, list[Channel]] = {}
        self.letters: dict[int, list[Channel]] = {}
        self.guard: LoopGuard | None = loop
        self.steps = {node.id: StepMetrics() for node in segment.nodes}
        self.counters: list[tuple[list[str], list[int]]] = []
        self.started = 0.0
        self.ended = 0.0
        self.error: BaseException | None = None
        self.final: dict[str, bytes] | None = None
        self.loop_log: LoopLog | None = None
        self.letter_ids: dict[str, list[str]] = {}
        self.gate: InputGate | None = None
        self.lineage: tuple[Lineage, int] | None = None
        self.current: list[Any] = []
        self.functions = self.make_functions()
        self.all_functions = [self.functions]
        self._has_sink = any(node.kind == "sink" for node in segment.nodes) or any(
            channel.port == DEAD_LETTER for channel in segment.outputs
        )

    # ------------------------------------------------------------------ set-up

    def make_functions(self, nth: int | None = None) -> Functions:
        """Functions of this subtask (of worker ``nth`` where a task has several)."""
        index = self.subtask if nth is None else nth
        count = self.segment.subtasks if nth is None else self.segment.width

        def context(node: Node) -> RuntimeContext:
            made: RuntimeContext = self.job.make_context(node, index, count, self.record_id)
            if self.job.recording is not None:
                self.job.recording.attach(node, made)
            return made

        return Functions(self.job, self.segment.nodes, context, asynchronous=self.asynchronous)

    def make_handler(self, functions: Functions) -> FailureHandler:
        """The failure handler over these functions."""

        def again(ident: Any, value: Any, key: Any) -> Any:
            calls = functions.contexts[ident[0] if isinstance(ident, tuple) else ident]._calls
            if calls is not None:
                calls.again()
            if isinstance(ident, tuple):
                what = ident[1]
                return what() if callable(what) else functions.calls[ident[0]][what](value)
            return self.call_again(functions, self.plan.nodes[ident], value, key)

        nodes = {node.id: node for node in self.segment.nodes}
        return FailureHandler(
            self.job, nodes, self.steps, self.locate, again, functions.fallbacks, self.send_letter
        )

    def call_again(self, functions: Functions, node: Node, value: Any, key: Any) -> Any:
        """Repeat a call that failed, for its retry policy."""
        call = functions.calls[node.id]
        return call(*value) if node.kind == "join" else call(value)

    def send_letter(self, node: Node, letter: dict[str, Any]) -> None:
        """Put a dead letter into the streams that read them. Called by the task's own thread."""
        if letter["item_id"] is not None:
            self.letter_ids.setdefault(node.uid, []).append(letter["item_id"])
        for channel in self.letters.get(node.id, ()):
            if self.asynchronous:
                channel.offer(letter)
            else:
                channel.put(letter)

    def opened(self) -> None:
        """Tell listeners that the steps are open."""
        self.job.notify("task_started", operator=self.segment.name, subtask=self.subtask)

    def prepare(self) -> None:
        """Called once when all channels are connected, before the task starts."""
        channels = [channel for _, channel in self.inputs]
        self.gate = InputGate(self.signal, channels, [plan.feedback for plan, _ in self.inputs])
        if self.guard is not None:
            self.gate.before_wait(self.guard.check)
        back = {at: channel for at, (plan, channel) in enumerate(self.inputs) if plan.feedback}
        if back and self.job.checkpoints is not None:
            self.loop_log = LoopLog(back, self._save_taken, self._acknowledge)

    def load(self, generated: writer.Generated, env: dict[str, Any], label: str) -> Any:
        """Compile generated code with counters of its own."""
        counts = [0] * len(generated.counters)
        self.counters.append((generated.counters, counts))
        name = f"{self.job.name}/segment-{self.segment.id}/{label}"
        return writer.load(generated, {**env, "K": counts}, name)

    def code_env(self, functions: Functions, handler: FailureHandler) -> dict[str, Any]:
        """Names that generated code refers to; see ``sage.kernel.compiler.writer``."""
        from itertools import islice  # noqa: PLC0415 - built in

        def lost(node_id: int, name: Any, value: Any) -> None:
            node = self.plan.nodes[node_id]
            handler.fail_batch(node, value, no_route(node, name), HERE)

        def no_coroutine(node_id: int, value: Any) -> None:
            value.close()
            node = self.plan.nodes[node_id]
            error = TypeError(
                f"step {node.name!r} returned a coroutine from a function that is not async: "
                "pass the async def itself"
            )
            raise TaskAbort(task_failed(self.job.name, node, None, value, error))

        return {
            "F": functions.calls,
            "X": functions.contexts,
            "H": handler.handle,
            "AH": handler.handle_async,
            "NR": lost,
            "NC": no_coroutine,
            "SKIP": SKIP,
            "MISSING": MISSING,
            "Many": Many,
            "add_to": add_to,
            "take_first": take_first,
            "COROUTINE": type(_coroutine_type()),
            "LIST": list,
            "CANCELED": self.job.cancel_flag,
            "OBS": {node_id: step.observe for node_id, step in self.steps.items()},
            "pc": perf_counter,
            "islice": islice,
            "C": {cid: channels[0] for cid, channels in self.outputs.items()},
            "P": {cid: self._put(cid, channels) for cid, channels in self.outputs.items()},
        }

    def _put(self, cid: int, channels: list[Channel]) -> Any:
        plan = self.plan.channels[cid]
        puts = [c.put_counted if plan.counted else c.put for c in channels]
        return self.distribute(plan, puts, channels)

    def distribute(self, plan: ChannelPlan, puts: list[Any], channels: list[Channel]) -> Any:
        """What generated code and releases call to put a record into a channel.

        Args:
            plan: The channel.
            puts: One function per subtask of its target.
            channels: The channels they put into.

        Returns:
            ``put(value)``, or ``put(key, value)`` for a keyed channel.
        """
        only = puts[0]
        if plan.most is not None:
            only = puts[0] = self._limited(plan, plan.most, only)
        if not plan.keyed:
            return only
        if len(puts) == 1:
            return lambda key, value: only((key, value))
        from sage.kernel.operators.hashing import stable_hash  # noqa: PLC0415

        count, node = len(puts), self.plan.key_of[plan.target, plan.index]
        named = self.job.recording is not None and self.job.lineage

        def put(key: Any, value: Any) -> None:
            try:
                at = stable_hash(key) % count
            except GraphError as error:
                where = self.record_id()
                raise TaskAbort(task_failed(self.job.name, node, where, value, error)) from error
            if named and (record := self.output_id(plan.id)) is not None:
                channel = channels[at]
                channel.lineage.begin(channel.total, Named(record), 0)
                channel.total += 1
            puts[at]((key, value))

        return put

    def output_id(self, cid: int) -> str | None:
        """Id of the record that is about to be put into one of several subtasks."""
        return self.record_id()

    def _limited(self, plan: ChannelPlan, most: int, put: Any) -> Any:
        """Refuse more than ``most`` records on their way back."""
        left = most

        def limited(value: Any) -> None:
            nonlocal left
            if left == 0:
                node = self.plan.nodes[plan.source]
                error = JobError(
                    f"more than max_items={most} items came back to {node.name!r}'s loop: it does "
                    "not end, or from_future(max_items=...) is too small"
                )
                raise TaskAbort(task_failed(self.job.name, node, None, value, error))
            left -= 1
            put(value)

        return limited

    # ------------------------------------------------------------------ where an item came from

    def locate(self, n: Any) -> str | None:
        """Record id for a position as the generated code knows it."""
        if isinstance(n, tuple):
            lineage, offset = n
            return None if lineage is None else str(lineage.resolve(offset))
        if n is HERE:
            return self.record_id()
        if n is None or self.lineage is None or self.job.canceled:
            return None
        if not isinstance(n, int):
            n = len(self.current) - n.__length_hint__() - 1
        lineage, offset = self.lineage
        return lineage.resolve(offset + n)

    def record_id(self) -> str | None:
        """Id of the record being worked on, from inside a user's call.

        Found in the frame of the generated code, so that nothing is kept for it per record.
        """
        current = CURRENT.get()
        if current is not None:
            return None if self.job.canceled else current.record_id()
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code.co_name == "run" and code.co_filename.startswith("<sage "):
                return self.locate(self._position(frame.f_locals))
            frame = frame.f_back  # type: ignore[assignment]
        return None

    def _position(self, names: dict[str, Any]) -> Any:
        if "n" in names or self.segment.source is None:
            return names.get("n")
        chunk, item = names["chunk"], names[f"v{self.segment.source.id}"]
        return (item - chunk.start) // chunk.step + 1

    # ------------------------------------------------------------------ checkpoints

    def forward(self, checkpoint: int) -> None:
        """Put the barrier of a checkpoint into all outputs. By whoever may write to them."""
        barrier = Barrier(checkpoint)
        for channels in (*self.outputs.values(), *self.letters.values()):
            for channel in channels:
                channel.mark(barrier)

    def may_overtake(self, checkpoint: int) -> bool:
        """Whether a barrier may pass while calls are in flight.

        If so, what these calls write from here on counts as written after the checkpoint, like the
        records they work on, which will be worked on again.
        """
        if self.letters or self.keeps_state():
            return False
        with self.job.taking_part:
            if self.keeps_state():
                return False
            self._begin_epoch(checkpoint)
        return True

    def keeps_state(self) -> bool:
        """Whether calls in flight may change what a checkpoint would save, or take back, half."""
        from sage.kernel.runtime.snapshots import keeps_state  # noqa: PLC0415 - with checkpoints

        return any(keeps_state(functions) for functions in self.all_functions)

    def _begin_epoch(self, checkpoint: int) -> None:
        for functions in self.all_functions:
            for context in functions.contexts.values():
                context.epoch = checkpoint

    def answer(self, checkpoint: int, parts: dict[str, bytes]) -> None:
        """The task has saved ``parts``: pass the barrier on and say so."""
        self._begin_epoch(checkpoint)
        self.forward(checkpoint)
        if self.loop_log is not None:
            self.loop_log.begin(checkpoint, parts)
        else:
            self._acknowledge(checkpoint, parts)

    def _acknowledge(self, checkpoint: int, parts: dict[str, bytes]) -> None:
        self.job.checkpoints.acknowledge(self, checkpoint, parts)

    def _save_taken(self, at: int, nth: int, batch: list[Any]) -> tuple[str, bytes]:
        """A part with the records just taken from input ``at``."""
        channel = self.inputs[at][1]
        source = channel.lineage.slice(channel.taken - len(batch), len(batch))
        ids = None if source is None else ids_of(*source, len(batch))
        return self._save_records(at, nth, ids, batch)

    def save_pending(
        self, taken: list[tuple[int, Lineage | None, int, list[Any]]]
    ) -> dict[str, bytes]:
        """Parts with records that were taken and whose results are not out, in their order.

        Args:
            taken: Input, lineage and offset, values.
        """
        by_input: dict[int, tuple[list[str] | None, list[Any]]] = {}
        for at, lineage, offset, values in taken:
            ids, all_values = by_input.setdefault(at, (None if lineage is None else [], []))
            if ids is not None and lineage is not None:
                ids.extend(ids_of(lineage, offset, len(values)))
            all_values.extend(values)
        parts = dict(self._save_records(at, 0, *records) for at, records in by_input.items())
        pending = {each for ids, _ in by_input.values() for each in ids or ()}
        return {**parts, **self.save_letters(pending)}

    def save_letters(self, pending: set[str]) -> dict[str, bytes]:
        """Parts with the items that became dead letters, but for those worked on again."""
        if not self.letter_ids:
            return {}
        from sage.kernel.runtime import snapshots  # noqa: PLC0415 - only with checkpoints

        return {
            snapshots.part_name(uid, self.subtask, "letters"): snapshots.save_ids(
                [each for each in ids if each not in pending]
            )
            for uid, ids in self.letter_ids.items()
        }

    def restore_letters(self, saved: Saved) -> None:
        """Take over which items became dead letters; the first subtask does for all."""
        for node in self.segment.nodes if self.subtask == 0 else ():
            ids = saved.letters(node.uid)
            if ids:
                self.letter_ids[node.uid] = ids

    def _save_records(
        self, at: int, nth: int, ids: list[str] | None, values: list[Any]
    ) -> tuple[str, bytes]:
        from sage.kernel.runtime import snapshots  # noqa: PLC0415 - only with checkpoints

        plan = self.inputs[at][0]
        node = self.plan.nodes[plan.target]
        if plan.keyed and self.asynchronous:  # taken without their key, which nobody reads
            values = [(None, value) for value in values]
        name = snapshots.part_name(node.uid, self.subtask, f"pending/{plan.index}/{at:04}.{nth:06}")
        return name, snapshots.save_records(node, ids, values)

    def restore(self, saved: Saved) -> None:
        """Take over what an earlier task of these steps saved; after ``prepare``, before ``run``.

        Raises:
            JobError: It does not fit.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------ ending

    def close_outputs(self) -> None:
        """No more records will come from this task."""
        for channels in (*self.outputs.values(), *self.letters.values()):
            for channel in channels:
                channel.close()

    def drop_inputs(self) -> None:
        """Take no more input and let the producers run on without blocking."""
        for _, channel in self.inputs:
            channel.drop()

    def useless(self) -> bool:
        """Whether the job fails and nobody takes what this task would still put out.

        If so, its producers are let go too.
        """
        if not self.job.stopping or self._has_sink:
            return False
        if not all(channel.discard for channels in self.outputs.values() for channel in channels):
            return False
        self.drop_inputs()
        return True

    def abort(self) -> None:
        """Wake everything that waits; the job is being canceled."""
        for _, channel in self.inputs:
            channel.abort()
        self.signal.fire()

    # ------------------------------------------------------------------ numbers

    def count_of(self, name: str) -> int:
        """Sum of a counter over all generated functions of the task."""
        return sum(counts[names.index(name)] for names, counts in self.counters if name in names)

    def has_counter(self, name: str) -> bool:
        """Whether the generated code counts this."""
        return any(name in names for names, _ in self.counters)

    def end_chunk(self) -> None:
        """Look at the state of the job before the next item of the source. Called by any thread."""

    def pulled(self) -> int:
        """Items pulled out of the source of the segment."""
        return 0

    def in_flight(self) -> int:
        """Items being worked on right now."""
        return sum(channel.in_hand for _, channel in self.inputs)

    def async_idle(self, now: float) -> float:
        """Seconds without any item in flight (async tasks; threads count at their gate)."""
        return 0.0

    def custom_counters(self, node_id: int) -> dict[str, float]:
        """What the step counted through ``ctx.count``."""
        total: dict[str, float] = {}
        for functions in self.all_functions:
            for name, amount in functions.contexts[node_id]._counters.copy().items():
                total[name] = total.get(name, 0) + amount
        return total

    def flows(self) -> dict[int, tuple[int, int]]:
        """Node id -> (in, out), derived from counters and the structure of the segment."""
        result: dict[int, tuple[int, int]] = {}
        for node in self.segment.nodes:
            into = self._into(node, result)
            result[node.id] = (into, self._out(node, into))
        return result

    def _into(self, node: Node, known: dict[int, tuple[int, int]]) -> int:
        total = 0
        if node.kind == "source":
            return self.pulled()
        for kind in ("e", "c") if node.kind in ("union", "comap", "join") else ("c",):
            if self.has_counter(f"{kind}{node.id}_n"):
                return self.count_of(f"{kind}{node.id}_n")
        if self.has_counter(f"i{node.id}_n"):
            return self.count_of(f"i{node.id}_n")
        for plan, channel in self.inputs:
            if plan.target == node.id:
                total += channel.taken
        through = {(plan.target, plan.index) for plan, _ in self.inputs}
        for up, consumers in self.plan.consumers.items():
            for consumer, index, _ in consumers:
                if consumer.id == node.id and (node.id, index) not in through and up in known:
                    total += known[up][1]
        return total

    def _out(self, node: Node, into: int) -> int:
        lost = self.steps[node.id].lost
        if node.kind == "filter":
            return max(0, into - self.count_of(f"d{node.id}_n") - lost)
        if node.kind == "join" and self.has_counter(f"m{node.id}_n"):
            return self.count_of(f"m{node.id}_n")
        if node.kind in ("flatmap", "window", "batch", "process", "join"):
            return self.count_of(f"e{node.id}_n")
        return max(0, into - lost)


def ids_of(lineage: Lineage, offset: int, count: int) -> list[str]:
    """Ids of ``count`` records."""
    return [lineage.resolve(offset + i) for i in range(count)]


async def _noop() -> None:
    return None


def _coroutine_type() -> Any:
    coroutine = _noop()
    coroutine.close()
    return coroutine
