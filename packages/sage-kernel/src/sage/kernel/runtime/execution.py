"""What runs a pipeline: its tasks, their life cycle, and what they ask of their job.

States and their transitions are the table in ``sage.kernel.runtime.states``. Predecessor:
``sage.kernel.runtime.local.submit``; successor: ``sage.kernel.runtime.job``, the user's handle.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from sage.api.context import RuntimeContext
from sage.common.errors import JobError
from sage.kernel.compiler.model import ExecutionGraph
from sage.kernel.graph.model import Node, StreamGraph
from sage.kernel.runtime import states
from sage.kernel.runtime.channel import ChannelAborted
from sage.kernel.runtime.failure import TaskAbort
from sage.kernel.runtime.hooks import hook_manager
from sage.kernel.runtime.letters import JobLetters
from sage.kernel.runtime.numbers import describe_step
from sage.kernel.runtime.sharing import Sharing
from sage.kernel.runtime.task import Task
from sage.kernel.scheduling.owner import OWNER, Owner

if TYPE_CHECKING:
    from sage.kernel.checkpoint.coordinator import Coordinator
    from sage.kernel.runtime.durable import Durable


class Execution:
    """A run of a pipeline as its tasks see it.

    Attributes:
        id: Unique id of the run.
        name: Name of the environment.
    """

    def __init__(
        self, job_id: str, graph: StreamGraph, plan: ExecutionGraph, durable: Durable | None = None
    ) -> None:
        self.id = job_id
        self.name = graph.name
        self.inline = bool(graph.config.get("inline", True))
        self.lineage = bool(graph.config.get("lineage", True))
        self._graph = graph
        self._plan = plan
        self._tasks: list[Task] = []
        self._status = states.CREATED
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._durable = durable
        self.taking_part = threading.Lock()
        """Held while a step begins to write what is rolled back, and while a barrier overtakes."""
        self.checkpoints: Coordinator | None = None
        self.recording: Any = None
        """The run's ledger as the steps see it, where there is one."""
        self.barrier = 0
        """Number of the checkpoint that sources are asked to begin."""
        self._unclaimed: set[Task] = set()
        self._unfinished: set[Task] = set()
        self._error: BaseException | None = None
        self._observed = False
        self.stop_flag: list[bool] = []
        self.cancel_flag: list[bool] = []
        self._loop: Any = None
        self._services: Any = None
        self.letters = JobLetters(graph.config, self.name, self.id)
        self._events: list[dict[str, Any]] = []
        self._log: deque[str] = deque(maxlen=2000)
        self.sharing = Sharing()
        self.owner = Owner(ChannelAborted)
        """For calls that wait for a rate limit or the budget."""
        self._pulls: set[Any] = set()
        self._on_end: list[Callable[[Any], None]] = []
        self._on_event: list[Callable[[dict[str, Any]], None]] = []
        self.rebuild: Callable[[], list[Task]]
        """Makes the tasks anew, for a restart; set by the runtime."""
        self.again: Callable[[], Any]
        """The module that starts replays and forks on the same runtime; set by the runtime."""
        self._began = self._finished_at = 0.0
        self._hooks = hook_manager()

    # ------------------------------------------------------------------ for the tasks

    @property
    def config(self) -> dict[str, Any]:
        """Configuration of the environment."""
        return self._graph.config

    @property
    def stopping(self) -> bool:
        """Sources stop pulling: the job fails or is canceled."""
        return bool(self.stop_flag)

    @property
    def paused(self) -> bool:
        return self._status == states.PAUSED

    def wait_resumed(self, answered: int) -> None:
        """Sources wait here while the job is paused, unless there is a new barrier to answer."""
        with self._idle:
            self._idle.wait_for(
                lambda: not self.paused or self.barrier != answered or self.stopping
            )

    def _poke(self) -> None:
        """Let the sources look at the state of the job."""
        with self._idle:
            self._idle.notify_all()
        for task in self._tasks:
            task.end_chunk()

    def announce(self, checkpoint: int) -> None:
        """Ask the sources for a checkpoint."""
        self.barrier = checkpoint
        self._poke()

    def tell(self, event: str, **facts: Any) -> None:
        """Something happened that is no change of state: for ``events`` and the plugins."""
        shown = {k: str(v) if isinstance(v, BaseException) else v for k, v in facts.items()}
        self._record({"event": event, **shown})
        self.notify(event, **facts)

    def sleep(self, seconds: float) -> bool:
        """Wait, but not beyond a cancel; returns whether the job still runs."""
        return not self._wake.wait(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Wait on the event loop (a cancel cancels the task itself)."""
        import asyncio  # noqa: PLC0415

        await asyncio.sleep(seconds)

    @property
    def canceled(self) -> bool:
        """Whether the job is being, or was, canceled."""
        return self._status in (states.CANCELING, states.CANCELED)

    def pull(self, coroutine: Any) -> Any:
        """Await the next item of an asynchronous source; given up when the job stops.

        Raises:
            ChannelAborted: The job fails or is canceled.
        """
        from concurrent.futures import CancelledError  # noqa: PLC0415 - where asyncio is anyway

        with self._lock:
            if self.stop_flag:
                coroutine.close()
                raise ChannelAborted
            future = self.loop().submit(coroutine)
            self._pulls.add(future)
        try:
            return future.result()
        except CancelledError:
            if self.stop_flag:
                raise ChannelAborted from None
            raise
        finally:
            self._pulls.discard(future)

    def stop_sources(self) -> None:
        """Pull nothing more: an item failed for good. Its error follows with the task's end."""
        with self._lock:
            if self._status in (states.RUNNING, states.PAUSED):
                self._to(states.FAILING)
            self._stop_now()

    def _stop_now(self) -> None:
        self.stop_flag.append(True)
        self._poke()
        if self.checkpoints is not None:
            self.checkpoints.abandon()
        for pull in list(self._pulls):
            pull.cancel()

    def loop(self) -> Any:
        """The job's event loop, made on first use."""
        with self._lock:
            if self._loop is None:
                from sage.kernel.runtime.loop import JobLoop  # noqa: PLC0415 - asyncio costs 60 ms

                self._loop = JobLoop(self.name)
                from sage.kernel.runtime.exit import hook  # noqa: PLC0415

                hook(again=True)
            return self._loop

    def run_async(self, coroutine: Any) -> Any:
        """Run a coroutine on the job's loop, for services."""
        return self.loop().run(coroutine)

    def make_context(
        self, node: Node, subtask: int, parallelism: int, record_id: Callable[[], str | None]
    ) -> RuntimeContext:
        """The context of one step in one subtask."""
        context = RuntimeContext(
            job_id=self.id,
            job_name=self.name,
            operator=node.name,
            uid=node.uid,
            subtask=subtask,
            parallelism=parallelism,
            config=self._graph.config,
            call_service=self._services.call if self._services is not None else None,
            stopping=lambda: bool(self.stop_flag),
            record_id=record_id,
        )
        if self._durable is not None:
            self._durable.attach(context, self._services, self.taking_part)
        if "context_key" in self._plan.flags[node.id] or node.kind == "process":
            from sage.kernel.state.backend import StateBackend  # noqa: PLC0415

            StateBackend(context)
        return context

    def make_operator(self, node: Node, functions: Any, context: RuntimeContext) -> Any:
        """The kernel's operator for a stateful step."""
        from sage.kernel.operators.factory import make_operator  # noqa: PLC0415

        if node.kind == "process":
            given = tuple(functions.instances[node.id])
        else:
            given = (functions.calls[node.id],) if node.id in functions.calls else ()
        return make_operator(node, given, context, context._state, time)

    def budget_exhausted(self, facts: dict[str, Any]) -> None:
        """The next call does not fit into the budget: pause, and say so."""
        how = (
            f"raise it: job.resume(budget=...) with more {' and '.join(facts['exhausted'])}, or "
            "job.cancel()"
        )
        with self._lock:
            if self._status != states.RUNNING:
                return
            self._to(states.PAUSED)
            self._poke()
            self.tell("BUDGET", **facts, go_on=how)
            self.log(f"the budget is spent, the job pauses; {how}; {facts}")

    def closing_failed(self, error: BaseException) -> None:
        """A step's ``close`` raised: the job fails with it unless it fails already."""
        self._fail(error)

    def log(self, line: str) -> None:
        """Keep a line for ``logs()``."""
        self._log.append(line)

    # ------------------------------------------------------------------ life cycle

    def start(self, tasks: list[Task], services: Any) -> None:
        """Run the tasks. Called once by the runtime, after everything is connected."""
        self._tasks = tasks
        self._services = services
        self._unclaimed = set(tasks)
        self._unfinished = set(tasks)
        self._began = perf_counter()
        if self._hooks is not None:
            self.notify("job_submitted", name=self.name, graph=self.graph())
        self._to(states.RUNNING)
        self._run(tasks)

    def _run(self, tasks: list[Task]) -> None:
        if self.checkpoints is not None and self._durable is not None:
            self.checkpoints.start(tasks, self.name)
            self._durable.started()
        asynchronous = [task for task in tasks if task.asynchronous]
        for task in asynchronous:
            task.connect(self.loop())  # type: ignore[attr-defined]
        for task in asynchronous:
            self.loop().start(self._run_async(task), partial(self._async_done, task))
        for task in tasks:
            if not task.asynchronous:
                threading.Thread(
                    target=self._run_thread,
                    args=(task,),
                    name=f"sage-{self.name}-{task.segment.id}",
                    daemon=True,
                ).start()

    def _claim(self, task: Task) -> bool:
        """Whether the task may run now; not once ``start_failed`` gave it up."""
        with self._lock:
            mine = task in self._unclaimed
            self._unclaimed.discard(task)
            return mine

    def _run_thread(self, task: Task) -> None:
        if not self._claim(task):
            return
        OWNER.set(self.owner)
        error: BaseException | None = None
        try:
            task.run()  # type: ignore[attr-defined]
        except BaseException as raised:  # noqa: BLE001 - the task boundary
            error = raised
        self._task_done(task, error)

    async def _run_async(self, task: Task) -> None:
        OWNER.set(self.owner)
        if self._claim(task):
            await task.run()  # type: ignore[attr-defined]

    def _async_done(self, task: Task, future: Any) -> None:
        error = None if future.cancelled() else future.exception()
        threading.Thread(
            target=self._task_done, args=(task, error), name="sage-end", daemon=True
        ).start()

    def _task_done(self, task: Task, error: BaseException | None) -> None:
        if isinstance(error, TaskAbort):
            error = error.error
        if self._hooks is not None:
            self._tell_ended(task, error)
        if error is not None and not isinstance(error, ChannelAborted):
            task.error = error
            self._fail(error)
            task.drop_inputs()
        elif error is not None:
            task.drop_inputs()
        if self.checkpoints is not None:
            self.checkpoints.task_ended(task, task.final)
        task.close_outputs()
        if task.guard is not None:
            task.guard.check()
        with self._lock:
            last = self._unfinished == {task}
            self._unfinished.discard(task)
        if last:
            self._finish()

    def _tell_ended(self, task: Task, error: BaseException | None) -> None:
        facts = {"operator": task.segment.name, "subtask": task.subtask}
        if error is not None and not isinstance(error, ChannelAborted):
            self.notify("task_failed", **facts, error=error)
        if self._hooks.listening("task_finished"):
            numbers = self.metrics()["operators"]
            mine = {node.name: numbers[node.name] for node in task.segment.nodes}
            self.notify("task_finished", **facts, metrics=mine)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
                self.log(str(error))
                if self.recording is not None:
                    self.recording.failed(error)
            if self._status in (states.RUNNING, states.PAUSED):
                self._to(states.FAILING)
            self._stop_now()
            if self.owner.budget is not None:
                self.owner.budget.stop()

    def _finish(self) -> None:
        try:
            if self._durable is not None and not self.stop_flag:
                self._durable.finish()
            if self.recording is not None and not self.stop_flag:
                self.recording.finish()
        except Exception as error:  # noqa: BLE001 - the job boundary
            self._fail(error)
        if self._restart():
            return
        self._finished_at = perf_counter()
        try:
            if self._services is not None:
                self._services.stop()
        except Exception as error:  # noqa: BLE001 - the job boundary
            self._fail(error)
        try:
            if self._loop is not None:
                self._loop.stop()
            self.letters.close()
        finally:
            with self._lock:
                if self._status == states.CANCELING:
                    self._to(states.CANCELED)
                elif self._error is not None:
                    self._to(states.FAILED)
                else:
                    self._to(states.FINISHED)
            ends: list[Callable[[], Any]] = [partial(call, self) for call in self._on_end]
            if self.recording is not None:
                ends.insert(0, self.recording.close)
            if self._durable is not None:
                ends.insert(0, partial(self._durable.close, self._status))
            for end in (*ends, self.report_metrics):
                self._try(end)
            if self._hooks is not None:
                cause = self._error if self._status == states.FAILED else None
                self.notify("job_finished", name=self.name, status=self._status, error=cause)
            self._ended.set()

    def _try(self, end: Callable[[], Any]) -> None:
        """What is done after a job's last state must not keep ``wait`` from returning."""
        try:
            end()
        except Exception as error:
            import logging  # noqa: PLC0415 - only for what should not be

            self.log(f"after the end: {type(error).__name__}: {error}")
            logging.getLogger("sage.job").exception("job %s, after its end", self.name)

    def _restart(self) -> bool:
        """Go on from the last checkpoint after a failure, if the settings say so."""
        if self._durable is None or self._error is None or self.canceled:
            return False
        delay = self._durable.restart_delay()
        if delay is None:
            return False
        with self._lock:
            if self.canceled:
                return False
            self._to(states.RESTARTING)
        self.tell("restarting", error=self._error, delay=delay)
        self._wake.wait(delay)
        if self.recording is not None:
            self.recording.ledger.repeat()
        try:
            self._durable.reload()
            tasks = self.rebuild()
            self._durable.roll_back(tasks, self._services)
        except Exception as error:  # noqa: BLE001 - the job boundary
            self._error = error
            return False
        with self._lock:
            if self.canceled:
                return False
            self._error = None
            self.stop_flag.clear()
            if self.owner.budget is not None:
                self.owner.budget.restart()
            self._tasks = tasks
            self._unclaimed = set(tasks)
            self._unfinished = set(tasks)
            self._to(states.RUNNING)
            self._run(tasks)
        return True

    def cancel(self, wait: bool = True, timeout: float | None = None) -> bool:
        """Stop now: nothing more is pulled, waiting steps wake, running calls end by themselves.

        Args:
            wait: Return only when the job has ended (not from inside a step).
            timeout: Most seconds to wait.

        Returns:
            Whether the job has ended.
        """
        with self._lock:
            if self._status in states.TERMINAL:
                return True
            if self._status != states.CANCELING:
                self._to(states.CANCELING)
                self._wake.set()
                self._stop_now()
                self.cancel_flag.append(True)
                for task in self._tasks:
                    task.abort()
                self.owner.cancel()
        if wait and not self._inside():
            return self._ended.wait(timeout)
        return self._ended.is_set()

    def notify(self, event: str, **facts: Any) -> None:
        """Tell the plugins that listen to ``event``."""
        if self._hooks is not None and self._hooks.listening(event):
            self._hooks.notify(event, job_id=self.id, **facts)

    def report_metrics(self) -> None:
        """Tell the plugins that listen the metrics as they are now."""
        if self.listens("metrics_reported"):
            self.notify("metrics_reported", metrics=self.metrics()["operators"])

    def listens(self, event: str) -> bool:
        """Whether a plugin listens to ``event``."""
        return self._hooks is not None and bool(self._hooks.listening(event))

    def tell_call(self, event: str, **facts: Any) -> None:
        """Tell the plugins about a call; these hooks know the call, not the job."""
        self._hooks.notify(event, **facts)

    def start_failed(self, error: BaseException) -> None:
        """The start was broken off, by a service or by Ctrl-C: end what runs already."""
        if self._status != states.CREATED:
            self.cancel(wait=False)
            with self._lock:
                never, self._unclaimed = self._unclaimed, set()
            for task in never:
                self._task_done(task, ChannelAborted())
            self._ended.wait()
            return
        self._error = error
        self._to(states.FAILED)
        if self._durable is not None:
            self._durable.close(self._status)
        if self.recording is not None:
            self.recording.close()
        if self._services is not None:
            self._services.stop()
        if self._loop is not None:
            self._loop.stop()
        self._ended.set()

    def when_ended(self, call: Callable[[Any], None]) -> None:
        """Call ``call(job)`` on the last thread of the job, just before ``wait`` returns."""
        self._on_end.append(call)

    def _to(self, status: str) -> None:
        if status not in states.JOB_TRANSITIONS[self._status]:
            raise JobError(f"job {self.name!r} cannot go from {self._status} to {status}")
        self._status = status
        self._record({"status": status})

    def _record(self, facts: dict[str, Any]) -> None:
        event = {"time": time(), "job": self.id, **facts}
        with self._lock:
            self._events.append(event)
            listeners = tuple(self._on_event)
        for call in listeners:
            call(event)

    def when_something_happens(self, call: Callable[[dict[str, Any]], None]) -> None:
        """Call ``call(event)`` with each event (see ``events``), those so far first."""
        with self._lock:
            so_far = list(self._events)
            self._on_event.append(call)
        for event in so_far:
            call(event)

    def _inside(self) -> bool:
        """Whether the caller is one of the job's own threads, which must not wait for the job."""
        name = threading.current_thread().name
        return name.startswith("sage-")

    # ------------------------------------------------------------------ numbers

    def metrics(self) -> dict[str, Any]:
        """Numbers per operator; times in seconds, ratios 0..1.

        Returns:
            ``{"job", "name", "status", "seconds", "operators": {step name: {"in", "out", "errors",
            "lost", "retries", "dead_letters", "queue", "in_flight", "busy", "idle",
            "backpressured", "p50", "p95", "p99", ...}}, "limits": {"PROVIDER/MODEL": {"rpm", "tpm",
            "calls", "tokens", "throttled", "wait_seconds", "waiting", ...}}}``; the limits are
            those of the process. With a budget: ``"budget": {"spent", "limit", "waiting"}``.
        """
        from sage.kernel.scheduling.registry import limits_in_use  # noqa: PLC0415 - attrs, hashlib

        operators: dict[str, Any] = {}
        by_segment: dict[int, list[Task]] = {}
        for task in self._tasks:
            by_segment.setdefault(task.segment.id, []).append(task)
            task.end_chunk()  # so that the next numbers are new, however long a chunk takes
        for node in self._plan.nodes.values():
            segment = self._plan.segment_of[node.id]
            operators[node.name] = describe_step(node, segment, by_segment[segment.id])
        end = self._finished_at or perf_counter()
        return {
            "job": self.id,
            "name": self.name,
            "status": self._status,
            "seconds": end - self._began if self._began else 0.0,
            "operators": operators,
            "limits": limits_in_use(),
            **({} if self.owner.budget is None else {"budget": self.owner.budget.facts()}),
        }

    def graph(self) -> dict[str, Any]:
        """The logical graph as plain data."""
        from sage.kernel.graph.render import to_dict  # noqa: PLC0415

        return to_dict(self._graph)
