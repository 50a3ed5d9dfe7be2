"""One thread that runs a chain of synchronous steps: from a source, or from an inbox.

A source is iterated straight through the generated function, so an item is pulled only when the one
before has gone through all fused steps. The number of items per call of the function adapts so that
a call takes some milliseconds: counters, cancel and pause are looked at in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from sage.kernel.compiler.codegen import OPERATOR_KINDS, SegmentCode
from sage.kernel.compiler.writer import is_one_to_one
from sage.kernel.graph.model import Node
from sage.kernel.operators.emit import DROPPED
from sage.kernel.runtime.binding import Functions
from sage.kernel.runtime.channel import ChannelAborted
from sage.kernel.runtime.chunks import Begun, CountedItems, RangeItems
from sage.kernel.runtime.failure import SKIP, TaskAbort, task_failed
from sage.kernel.runtime.gate import BARRIER, LOOPED, TIMER
from sage.kernel.runtime.iterating import iterate
from sage.kernel.runtime.lineage import DerivedLineage, OriginLineage
from sage.kernel.runtime.tables import MISSING
from sage.kernel.runtime.task import HERE, Task

if TYPE_CHECKING:
    from sage.kernel.compiler.inline import Inlined
    from sage.kernel.runtime.snapshots import Saved, SavedSource

LONGEST = 4096
"""Most records per call of the generated function."""
QUICK = 0.001
"""Seconds of a call below which the next may take twice as many records."""
SLOW = 0.004
"""Seconds of a call from which on the next takes fewer."""
ALONE = 4
"""How much more a source does per call when it feeds no other thread, which would wait for it."""
PROFILE_EVERY = 64
"""One of this many calls runs the variant that times each step."""
SLOW_RECORD = 2e-5
"""Seconds per record from which on every call is timed: timing is noise there."""
SAMPLE = 32
"""Most records of a call that is timed only as a sample."""
_PLAIN: tuple[type, ...] = (RangeItems, type(iter([])), type(iter(())))
"""Iterators that neither block nor run code of the user."""
_INLINABLE = {"map": 1, "filter": 1, "keyby": 1, "route": 1, "sink": 1, "reduce": 2, "join": 2}
"""Kinds of steps whose function may be inlined -> its number of parameters."""
_AT_MOST_ONE = frozenset(
    ("source", "map", "filter", "keyby", "reduce", "fallback", "route", "sink")
)
"""Kinds of steps that put out each record at most once: ids stay as they are."""
HOT = 2048
"""Records after which simple functions are inlined: short jobs do not pay for it."""


class SyncTask(Task):
    """See the module."""

    def prepare(self) -> None:
        super().prepare()
        self._most = 1
        self._scale = ALONE if self.segment.source is not None and not self.outputs else 1
        self._chunks: RangeItems | CountedItems | None = None
        self._plain_iterator = False
        self._calls = 0
        self._records = 0
        self._timed = self._profiled = False
        self._inlined: dict[int, Inlined] | None = None
        self._held: dict[int, tuple[Any, ...]] = {}
        self._pulled = 0
        self._parents: dict[int, list[int]] = {cid: [] for cid in self.outputs}
        self._derived: list[tuple[int, DerivedLineage]] = []
        self._expands = any(n.kind not in _AT_MOST_ONE for n in self.segment.nodes)
        self._one_to_one = is_one_to_one(self.plan, self.segment)
        self._runs: dict[tuple[str, bool], Any] = {}
        self._resumes: dict[int, Any] = {}
        self.operators: dict[int, Any] = {}
        self.tables: dict[int, Any]
        self._handler = self.make_handler(self.functions)
        self._env = self.code_env(self.functions, self._handler)
        self._pulled_now = [0]
        self._answered = 0
        self._origin: SavedSource | None = None
        self._numbered: dict[int, int] = {}
        self._env["N"] = self._pulled_now
        state = self.tables = {}
        self._env["STATE"] = state
        initial: dict[int, Any] = {}
        self._env["INIT"] = initial
        self._env["OP"] = self.operators
        self._env["parents"] = {cid: parents.append for cid, parents in self._parents.items()}
        for node in self.segment.nodes:
            if node.kind == "reduce":
                state[node.id] = {}
                if "initial" in node.params:
                    first = node.params["initial"]
                    initial[node.id] = first if callable(first) else (lambda v=first: v)
            elif node.kind == "join" and _plain(node):
                state[node.id] = ({}, {})
            elif node.kind in OPERATOR_KINDS or node.kind == "join":
                if node.kind != "process" and node.id in self.functions.calls:
                    self.functions.calls[node.id] = self._by_policy(
                        node, self.functions.calls[node.id]
                    )
                self.operators[node.id] = self.job.make_operator(
                    node, self.functions, self.functions.contexts[node.id]
                )

    def _by_policy(self, node: Node, call: Any) -> Any:
        """The function of a window or join as its operator calls it: the policy is around it."""

        def guarded(*args: Any) -> Any:
            try:
                return call(*args)
            except Exception as error:  # noqa: BLE001 - the task boundary
                value = args if len(args) > 1 else args[0]
                result = self._handler.handle(
                    (node.id, partial(call, *args)), value, error, HERE, None
                )
                return DROPPED if result is SKIP else result

        return guarded

    def call_again(self, functions: Functions, node: Node, value: Any, key: Any) -> Any:
        if node.kind == "reduce":
            state = self._env["STATE"][node.id]
            before = state.get(key, MISSING)
            if before is MISSING:
                before = self._env["INIT"][node.id]()
            result = state[key] = functions.calls[node.id](before, value)
            return result
        if node.kind == "process":
            return self.operators[node.id].process(value, 0)
        return super().call_again(functions, node, value, key)

    # ------------------------------------------------------------------ running

    def run(self) -> None:
        """Body of the thread."""
        self.started = perf_counter()
        failed = True
        try:
            self.functions.open()
            self.opened()
            if self.segment.source is not None:
                self._run_source(self.segment.source)
            else:
                self._run_inbox()
            self._finish_operators()
            if self.job.checkpoints is not None and not self.job.stopping:
                self.final = self._save(ended=True)
            failed = False
        finally:
            self.ended = perf_counter()
            errors = self.functions.close()
            if errors and not failed:
                self.job.closing_failed(errors[0])

    def _run_source(self, node: Node) -> None:
        job, checkpoints = self.job, self.job.checkpoints
        if self._origin is not None and self._origin.ended:
            self._pulled = self._origin.count
            return
        iterator = self._begin_source(node)
        self._plain_iterator = type(iterator) in _PLAIN
        chunks = iterator if isinstance(iterator, RangeItems) else CountedItems(iterator)
        self._chunks = chunks
        origin = OriginLineage(node.uid)
        self.lineage = (origin, -1)
        try:
            while True:
                chunks.stopped = False
                if job.stopping:
                    return
                if self._answered != job.barrier:
                    self._answer_source(job.barrier)
                    continue
                if job.paused:
                    job.wait_resumed(self._answered)
                    continue
                most = self._next_size()
                run = self._choose("source", node, 0)
                self._begin_lineage(origin, self._pulled - (0 if self._one_to_one else 1))
                self.lineage = (origin, self._pulled - 1)
                started = perf_counter()
                count = most
                try:
                    count = run(chunks, most)
                except (TaskAbort, ChannelAborted):
                    raise
                except Exception as error:
                    at = f"{node.uid}:{self._pulled + self._pulled_now[0]}"
                    raise TaskAbort(
                        task_failed(job.name, node, at, f"item {at} of the source", error)
                    ) from error
                finally:
                    self._pulled += self._pulled_now[0]
                    self._end_lineage(self._pulled_now[0])
                if checkpoints is not None and checkpoints.every is not None:
                    checkpoints.pulled(self._pulled_now[0])
                if count < most:
                    if not chunks.stopped:
                        return
                    chunks.ended_after(count)
                self._adapt(count, perf_counter() - started)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _run_inbox(self) -> None:
        gate = self.gate
        assert gate is not None
        gate.on_end = self._end_input
        timed = bool(self.operators)
        while True:
            deadline = self._next_time() if timed else None
            if self.useless():
                return
            taken = gate.next(self._next_size(), deadline)
            if taken is None:
                return
            at, batch = taken
            if at < 0:
                self._not_records(at, batch)
                continue
            plan, channel = self.inputs[at]
            if self.loop_log is not None:
                self.loop_log.came(at, batch)
            node = self.plan.nodes[plan.target]
            run = self._choose("batch", node, plan.index, plan.keyed)
            count = len(batch)
            self.current = batch
            source = channel.lineage.slice(channel.taken - count, count)
            self.lineage = source
            if source is not None:
                self._begin_lineage(*source)
            started = perf_counter()
            try:
                run(batch)
            finally:
                self._end_lineage(count)
            self._adapt(count, perf_counter() - started)
            channel.completed += count
            self._drain_outputs()
            if timed and (due := self._next_time()) is not None and due <= time():
                self._fire_timers()

    def _not_records(self, what: int, facts: list[Any]) -> None:
        if what == TIMER:
            self._fire_timers()
        elif what == BARRIER:
            self.answer(facts[0].id, self._save())
        elif what == LOOPED and self.loop_log is not None:
            self.loop_log.returned(facts[1], facts[0].id)

    def _drain_outputs(self) -> None:
        """Backpressure for channels that the generated code appends to without looking."""
        for channels in self.outputs.values():
            channel = channels[0]
            if len(channel.items) + channel.in_hand >= channel.limit:
                channel.block()

    def _adapt(self, count: int, seconds: float) -> None:
        self._records += count
        quick = QUICK * self._scale
        if seconds < quick:
            if count >= self._most and self._most < LONGEST * self._scale:
                self._most *= 2
        elif seconds > SLOW * self._scale and self._most > 1:
            self._most = max(1, int(self._most * quick * 2 / seconds))
        self._timed = seconds > SLOW_RECORD * count

    # ------------------------------------------------------------------ checkpoints

    def _begin_source(self, node: Node) -> Iterator[Any]:
        """The items of the source, from where an earlier task left off."""
        source, origin = self.functions.instances[node.id][0], self._origin
        if origin is None:
            return iterate(source, self.job)
        from sage.kernel.runtime.snapshots import has_state  # noqa: PLC0415 - with checkpoints

        self._pulled = origin.count
        if hasattr(source, "seek"):
            source.seek(origin.offset)
            return iterate(source, self.job)
        if has_state(source):  # its own ``restore`` has brought back where it was
            return iterate(source, self.job)
        iterator = iterate(source, self.job)
        if isinstance(iterator, RangeItems):
            iterator.take(origin.count)
        else:
            next(islice(Begun(iterator), origin.count, origin.count), None)
        return iterator

    def source_offset(self, node: Node) -> Any:
        """Where the source would go on; ``None`` for one that is read again and skipped."""
        source, origin = self.functions.instances[node.id][0], self._origin
        if origin is not None and origin.count == self._pulled:
            return origin.offset  # a generator that has not begun does not know yet
        return source.offset if hasattr(source, "seek") else None

    def _answer_source(self, checkpoint: int) -> None:
        self._answered = checkpoint
        self.answer(checkpoint, self._save())
        self.job.checkpoints.begun.wait()

    def _save(self, *, ended: bool = False) -> dict[str, bytes]:
        from sage.kernel.runtime.steps import save_steps  # noqa: PLC0415 - only with checkpoints

        return save_steps(self, ended=ended)

    def numbered(self, node: Node) -> int:
        """Outputs that a stateful step has put out, by earlier tasks of the run too."""
        return self._numbered.get(node.id, 0) + self.count_of(f"e{node.id}_n")

    def continue_source(self, origin: SavedSource) -> None:
        """Go on from where the source of an earlier task left off."""
        self._origin = origin

    def continue_numbering(self, node: Node, first: int) -> None:
        """Number the outputs of a stateful step from ``first``."""
        self._numbered[node.id] = first

    def restore(self, saved: Saved) -> None:
        from sage.kernel.runtime.steps import restore_steps  # noqa: PLC0415 - only with checkpoints

        restore_steps(self, saved)

    # ------------------------------------------------------------------ generated code

    def _next_size(self) -> int:
        """How many records to take; decides whether they are timed."""
        self._calls += 1
        self._profiled = self._timed
        if self._calls % PROFILE_EVERY == 2:
            self._profiled = True
            return min(self._most, SAMPLE)
        return self._most

    def _choose(self, entry: str, node: Node, index: int, keyed: bool = False) -> Any:
        """The variant to run next: timed, inlined, or plain."""
        profile = self._profiled
        if self._inlined is None and self._records >= HOT and self.job.inline:
            self._inline()
        label = f"{entry}-{node.id}-{index}"
        run = self._runs.get((label, profile))
        if run is None:
            run = self._runs[label, profile] = self._generate(
                entry, node, index, keyed, profile, label
            )
        return run

    def _generate(
        self, entry: str, node: Node, index: int, keyed: bool, profile: bool, label: str
    ) -> Any:
        code = SegmentCode(
            self.plan,
            self.segment,
            inlined=self._inlined,
            held=self._held,
            profile=profile,
            lineage=self.job.lineage,
        )
        if entry == "source":
            write = code.bulk if self._plain_iterator and code.can_bulk(node) else code.source
            generated = write(node, ranged=isinstance(self._chunks, RangeItems))
        elif entry == "batch":
            generated = code.batch(node, index, keyed=keyed)
        else:
            generated = code.outputs_of(node)
        guards = generated.guards
        self._env["REC"] = lambda error, n: self._recover(guards, error, n)
        return self.load(generated, self._env, label + ("-timed" if profile else ""))

    def _inline(self) -> None:
        from sage.kernel.compiler.inline import inline_body, is_watched  # noqa: PLC0415 - when hot

        self._inlined = self._handler.inlined
        nodes = [] if is_watched() else self.segment.nodes
        for node in nodes:
            parameters = _INLINABLE.get(node.kind)
            if parameters is None or node.options.timeout:
                continue
            found = inline_body(
                self.functions.calls[node.id],
                node.id,
                parameters=parameters,
                statements=parameters == 1,
            )
            if found is not None:
                self._inlined[node.id] = found
                self._env.update(found.names)
        self._hold_states()
        if self._inlined:
            self._runs = {key: run for key, run in self._runs.items() if key[1]}

    def _hold_states(self) -> None:
        if not any("context_key" in self.plan.flags[node.id] for node in self.segment.nodes):
            return
        from sage.kernel.runtime.held import HeldStates  # noqa: PLC0415 - only keyed and hot

        held = HeldStates(self.plan, self.segment, self.functions, self._handler)
        if held.by_node:
            self._held = held.by_node
            self._env |= {"HELD": held.by_node, "HELD_H": held.handle}
            self._runs, self._resumes = {}, {}

    def _recover(self, guards: Any, error: Exception, n: Any) -> None:
        """A call of a linear chain raised: apply its policy and run the rest of the chain."""
        trace = error.__traceback__
        known = guards.get(trace.tb_lineno) if trace is not None else None
        if known is None or trace is None:
            raise error
        node_id, var, key_var = known
        values = trace.tb_frame.f_locals
        node, key = self.plan.nodes[node_id], values.get(key_var) if key_var else None
        value = values[var]
        handle = self._env["HELD_H"] if node_id in self._held else self._handler.handle
        rescued = handle(node_id, value, error, n, key)
        if rescued is SKIP or node.kind == "sink":
            return
        if node.kind == "filter":
            if not rescued:
                return
            rescued = value
        elif node.kind == "keyby":
            rescued, key = value, rescued
        resume = self._resumes.get(node_id)
        if resume is None:
            code = SegmentCode(
                self.plan,
                self.segment,
                held=self._held,
                lineage=self.job.lineage,
            )
            resume = self._resumes[node_id] = self.load(
                code.resume(node), self._env, f"resume-{node_id}"
            )
        resume([rescued], key, n)

    # ------------------------------------------------------------------ lineage

    def _begin_lineage(self, lineage: Any, offset: int) -> None:
        """Say what the records about to be put out are; the lists of parents grow meanwhile."""
        if not self.job.lineage:
            return
        if self._one_to_one:
            for channels in self.outputs.values():
                if len(channels) == 1:
                    channels[0].lineage.begin(channels[0].total, lineage, offset)
            return
        self._derived = []
        for cid, channels in self.outputs.items():
            if len(channels) == 1:
                derived = DerivedLineage(lineage, self._parents[cid], offset, self._expands)
                self._derived.append((cid, derived))
                channels[0].lineage.begin(channels[0].total, derived, 0)

    def _end_lineage(self, count: int) -> None:
        if not self.job.lineage:
            return
        if self._one_to_one:
            for channels in self.outputs.values():
                if len(channels) == 1:
                    channels[0].total += count
            return
        for cid, derived in self._derived:
            parents = self._parents[cid]
            derived.parents = parents[:]
            self.outputs[cid][0].total += len(parents)
        for parents in self._parents.values():
            del parents[:]

    def output_id(self, cid: int) -> str | None:
        record = self.record_id()
        parents = self._parents[cid]
        if record is None or not self._expands or not parents:
            return record
        nth = 0
        while nth + 1 < len(parents) and parents[-2 - nth] == parents[-1]:
            nth += 1
        return f"{record}/{nth}"

    # ------------------------------------------------------------------ stateful steps

    def _next_time(self) -> float | None:
        times = [t for op in self.operators.values() if (t := op.next_time()) is not None]
        return min(times) if times else None

    def _fire_timers(self) -> None:
        now = time()
        for node in self.segment.nodes:
            operator = self.operators.get(node.id)
            if operator is not None and (due := operator.next_time()) is not None and due <= now:
                self._emit(node, partial(operator.on_time, now))

    def _end_input(self, at: int) -> None:
        plan, _ = self.inputs[at]
        if self.loop_log is not None:
            self.loop_log.ended(at)
        operator = self.operators.get(plan.target)
        if operator is not None and len(self.plan.nodes[plan.target].inputs) > 1:
            self._emit(self.plan.nodes[plan.target], partial(operator.end_input, plan.index))

    def _finish_operators(self) -> None:
        for node in self.segment.nodes:
            operator = self.operators.get(node.id)
            if operator is not None:
                self._emit(node, operator.finish)

    def _emit(self, node: Node, make: Any) -> None:
        """Send outputs that a stateful step makes by itself through the steps after it.

        Args:
            node: The step.
            make: Gives its outputs; called again after a failure, to go on behind it.
        """
        batch: list[Any] = []
        failed: TaskAbort | None = None
        while True:
            try:
                batch.extend(make())
                break
            except ChannelAborted:
                raise
            except TaskAbort as abort:
                failed = abort
                break
            except Exception as error:  # noqa: BLE001 - the task boundary
                try:
                    self._handler.fail_batch(node, "its own output", error, None)
                except TaskAbort as abort:
                    failed = abort
                    break
        if batch:
            self._send_own(node, batch)
        if failed is not None:
            raise failed

    def _send_own(self, node: Node, batch: list[Any]) -> None:
        run = self._choose("outputs", node, 0)
        many = self.segment.subtasks > 1
        uid = f"{node.uid}[{self.subtask}]" if many else node.uid
        origin = OriginLineage(uid, self.numbered(node))
        self.current, self.lineage = batch, (origin, 0)
        self._begin_lineage(origin, 0)
        try:
            run(batch)
        finally:
            self._end_lineage(len(batch))
        self._drain_outputs()

    def end_chunk(self) -> None:
        chunks = self._chunks
        if chunks is not None:
            chunks.stop()

    def pulled(self) -> int:
        return self._pulled

    def abort(self) -> None:
        super().abort()
        if self.segment.source is None:
            self.current.clear()  # the generated loop ends after the record it is at


def _plain(node: Node) -> bool:
    return node.params.get("how", "inner") == "inner" and node.params.get("window") is None
