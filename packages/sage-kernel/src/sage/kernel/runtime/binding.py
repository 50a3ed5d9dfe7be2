"""The functions of one subtask: made, opened, wrapped for what their options ask, and closed.

Constructors run when the job is submitted, so that a wrong configuration is reported at once;
``open`` and ``close`` run on the thread (or loop) that runs the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sage.api.context import RuntimeContext
from sage.api.functions import BaseFunction, FlatMapFunction
from sage.common.errors import GraphError, StepTimeoutError
from sage.kernel.compiler import traits
from sage.kernel.graph.model import FunctionSpec, Node
from sage.kernel.ledger.current import CURRENT
from sage.kernel.runtime.failure import OPENING, TaskAbort, fallback_spec, task_failed
from sage.kernel.runtime.sharing import Shared
from sage.kernel.scheduling.owner import OWNER

NOTHING: Any = object()


class Bound:
    """One function of a step in one subtask.

    Attributes:
        instance: The object with the life cycle, or the plain callable.
        call: What the generated code calls.
        context: Set when the instance has a life cycle.
        shared: Set when other subtasks may have the same instance.
        saved: State for its ``restore``, when the run goes on from a checkpoint.
    """

    __slots__ = ("call", "context", "instance", "lives", "opened", "saved", "shared")

    def __init__(
        self, instance: Any, call: Any, context: RuntimeContext, shared: Shared | None
    ) -> None:
        self.instance = instance
        self.call = call
        self.context = context
        self.lives = hasattr(instance, "open") and has_life_cycle(instance)
        self.opened = False
        self.saved: Any = NOTHING
        self.shared = shared if self.lives else None


class Functions:
    """All functions of the steps of one subtask.

    Attributes:
        calls: node id -> callable (a tuple of two for comap).
        contexts: node id -> runtime context.
        fallbacks: node id -> callable of the fallback operator.
    """

    __slots__ = ("_bound", "_job", "_timers", "calls", "contexts", "fallbacks", "instances")

    def __init__(
        self,
        job: Any,
        nodes: Iterable[Node],
        make_context: Callable[[Node], RuntimeContext],
        *,
        asynchronous: bool,
    ) -> None:
        self._job = job
        self._bound: list[tuple[Node, Bound]] = []
        self._timers: list[TimedCall] = []
        self.calls: dict[int, Any] = {}
        self.contexts: dict[int, RuntimeContext] = {}
        self.fallbacks: dict[int, Callable[[Any], Any]] = {}
        self.instances: dict[int, list[Any]] = {}
        for node in nodes:
            context = self.contexts[node.id] = make_context(node)
            bound = [self._bind(node, spec, context) for spec in node.specs]
            self.instances[node.id] = [b.instance for b in bound]
            calls = [b.call for b in bound]
            if node.kind == "comap":
                calls = list(self._comap(node, bound))
                self.calls[node.id] = tuple(self._timed(node, c, asynchronous) for c in calls)
            elif node.kind == "fallback":
                timed = [self._timed(node, c, asynchronous) for c in calls]
                self.calls[node.id] = first_that_works(timed, asynchronous)
            elif calls and node.kind != "source":
                self.calls[node.id] = self._timed(node, calls[0], asynchronous)
            elif calls:
                self.calls[node.id] = calls[0]
            spec = fallback_spec(node)
            if spec is not None:
                self.fallbacks[node.id] = self._bind(node, spec, context).call

    def _bind(self, node: Node, spec: FunctionSpec, context: RuntimeContext) -> Bound:
        instance = spec.instantiate()
        kind = node.kind
        call = traits.method_of(FunctionSpec(instance), kind)
        if kind == "source":
            call = instance
        elif not callable(call):
            raise GraphError(
                f"step {node.name!r}: {type(instance).__name__} is not callable and has no "
                "execute() method",
                step=node.name,
            )
        if isinstance(instance, FlatMapFunction) and kind == "flatmap":
            call = collecting(instance, call)
        if self._job.recording is not None and kind != "source":
            call = self._job.recording.around(node, spec, call, context)
        shared = None if spec.is_class else self._job.sharing.join(instance)
        bound = Bound(instance, call, context, shared)
        self._bound.append((node, bound))
        return bound

    def _comap(self, node: Node, bound: list[Bound]) -> tuple[Any, Any]:
        if len(bound) == 1:
            instance, context, recording = bound[0].instance, bound[0].context, self._job.recording
            both = instance.map1, instance.map2
            if recording is None:
                return both
            first, second = (recording.around(node, node.specs[0], m, context) for m in both)
            return first, second
        return bound[0].call, bound[1].call

    def _timed(self, node: Node, call: Any, asynchronous: bool) -> Any:
        seconds = node.options.timeout
        if seconds is None:
            return call
        if asynchronous:
            return timed_async(call, seconds, node.name)
        calls = self.contexts[node.id]._calls
        timed = TimedCall(call, seconds, node.name, None if calls is None else calls.carried)
        self._timers.append(timed)
        return timed

    # ------------------------------------------------------------------ life cycle

    def open(self, *, fallbacks_only: bool = False) -> None:
        """Open in order of the steps. On failure those already open stay to be closed.

        Raises:
            TaskAbort: One failed to open; names its step.
        """
        for node, bound in self._bound:
            if not bound.lives:
                continue
            if fallbacks_only and any(bound.instance is i for i in self.instances[node.id]):
                continue
            shared = bound.shared
            if shared is None:
                self._open_now(node, bound)
                continue
            with shared.lock:
                if shared.error is not None:
                    raise self._not_opened(node, shared.error)
                if not shared.opened:
                    try:
                        self._open_now(node, bound)
                    except BaseException as error:
                        shared.error = error
                        raise
                    shared.opened = True
            bound.opened = True

    def _open_now(self, node: Node, bound: Bound) -> None:
        bound.instance.ctx = bound.context
        try:
            result = bound.instance.open(bound.context)
        except Exception as error:
            raise self._not_opened(node, error) from error
        if result is not None and hasattr(result, "__await__"):
            if hasattr(result, "close"):
                result.close()
            raise GraphError(
                f"step {node.name!r}: {type(bound.instance).__name__}.open is async, but its "
                "execute is not: make both async or both sync",
                step=node.name,
            )
        self._restore(node, bound)
        bound.opened = True

    async def open_async(self) -> None:
        """Like ``open``, on the event loop; ``open`` may be async."""
        for node, bound in self._bound:
            if not bound.lives:
                continue
            shared = bound.shared
            if shared is None:
                await self._open_now_async(node, bound)
                continue
            await shared.acquire_async()
            try:
                if shared.error is not None:
                    raise self._not_opened(node, shared.error)
                if not shared.opened:
                    try:
                        await self._open_now_async(node, bound)
                    except BaseException as error:
                        shared.error = error
                        raise
                    shared.opened = True
                bound.opened = True
            finally:
                shared.lock.release()

    async def _open_now_async(self, node: Node, bound: Bound) -> None:
        bound.instance.ctx = bound.context
        try:
            result = bound.instance.open(bound.context)
            if result is not None and hasattr(result, "__await__"):
                await result
        except Exception as error:
            raise self._not_opened(node, error) from error
        self._restore(node, bound)
        bound.opened = True

    def restore_after_open(self, node_id: int, nth: int, state: Any) -> None:
        """Let the ``nth`` function of a step have ``restore(state)`` called once it is open."""
        instance = self.instances[node_id][nth]
        for node, bound in self._bound:
            if node.id == node_id and bound.instance is instance:
                bound.saved = state

    def _restore(self, node: Node, bound: Bound) -> None:
        if bound.saved is NOTHING:
            return
        try:
            bound.instance.restore(bound.saved)
        except Exception as error:
            raise self._not_opened(node, error) from error
        bound.saved = NOTHING

    def _not_opened(self, node: Node, error: BaseException) -> TaskAbort:
        if isinstance(error, TaskAbort):
            return error
        return TaskAbort(task_failed(self._job.name, node, None, OPENING, error))

    def close(self) -> list[Exception]:
        """Close what was opened, last first; returns what the close methods raised."""
        errors: list[Exception] = []
        for node, bound in reversed(self._bound):
            if bound.lives and self._leave(bound):
                try:
                    bound.instance.close()
                except Exception as error:  # noqa: BLE001 - all others must be closed too
                    errors.append(self._not_closed(node, error))
        for timed in self._timers:
            timed.stop()
        return errors

    async def close_async(self) -> list[Exception]:
        """Like ``close``, on the event loop; ``close`` may be async."""
        errors: list[Exception] = []
        for node, bound in reversed(self._bound):
            if bound.lives and self._leave(bound):
                try:
                    result = bound.instance.close()
                    if result is not None and hasattr(result, "__await__"):
                        await result
                except Exception as error:  # noqa: BLE001 - all others must be closed too
                    errors.append(self._not_closed(node, error))
        return errors

    def _leave(self, bound: Bound) -> bool:
        """Whether this subtask has to close the instance; each is asked once."""
        opened, bound.opened = bound.opened, False
        if bound.shared is None:
            return opened
        shared, bound.shared = bound.shared, None
        with shared.lock:
            return shared.leave()

    def _not_closed(self, node: Node, error: Exception) -> Exception:
        return task_failed(self._job.name, node, None, "close()", error)


def has_life_cycle(instance: Any) -> bool:
    """Whether the engine opens and closes a function."""
    if isinstance(instance, BaseFunction):
        return True
    return hasattr(instance, "execute") and hasattr(instance, "close")


def collecting(instance: Any, execute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A flatmap call that also gives what the function passed to ``collect``.

    Every call has a bag of its own, also where threads or coroutines share the instance.
    """
    from contextvars import ContextVar  # noqa: PLC0415 - only for these steps

    bags: ContextVar[list[Any]] = ContextVar("bags")
    instance.collect = lambda item: bags.get().append(item)
    flags = getattr(traits.code_of(execute), "co_flags", 0)
    if flags & traits.CO_ASYNC_GENERATOR:

        async def generate(item: Any) -> Any:
            bag: list[Any] = []
            bags.set(bag)
            async for output in execute(item):
                for collected in _emptied(bag):
                    yield collected
                yield output
                bags.set(bag)
            for collected in bag:
                yield collected

        return generate
    if flags & traits.CO_COROUTINE:

        async def call_async(item: Any) -> Any:
            bag: list[Any] = []
            bags.set(bag)
            outputs: Any = execute(item)
            outputs = await outputs
            return bag if outputs is None else [*bag, *outputs] if bag else outputs

        return call_async

    def call(item: Any) -> Any:
        bag: list[Any] = []
        bags.set(bag)
        outputs = execute(item)
        if outputs is None:
            return bag
        if hasattr(outputs, "__next__"):
            return _merged(outputs, bag)
        return [*bag, *outputs] if bag else outputs

    return call


def _merged(outputs: Any, bag: list[Any]) -> Any:
    for output in outputs:
        yield from _emptied(bag)
        yield output
    yield from bag


def _emptied(bag: list[Any]) -> list[Any]:
    items = bag[:]
    del bag[:]
    return items


def first_that_works(calls: list[Any], asynchronous: bool) -> Any:
    """Try each call in order; the last one's exception is raised, the earlier ones as context."""
    if asynchronous:

        async def attempt_async(item: Any) -> Any:
            for call in calls[:-1]:
                try:
                    result = call(item)
                    return await result if hasattr(result, "__await__") else result
                except Exception:  # noqa: BLE001, S112 - the next one is the answer to it
                    continue
            result = calls[-1](item)
            return await result if hasattr(result, "__await__") else result

        return attempt_async

    def attempt(item: Any) -> Any:
        for call in calls[:-1]:
            try:
                return call(item)
            except Exception:  # noqa: BLE001, S112 - the next one is the answer to it
                continue
        return calls[-1](item)

    return attempt


def timed_async(call: Any, seconds: float, name: str) -> Any:
    """An async call that raises ``StepTimeoutError`` after ``seconds``."""
    import asyncio  # noqa: PLC0415 - 60 ms, only where async steps run

    async def limited(*args: Any) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result = call(*args)
                return await result if hasattr(result, "__await__") else result
        except TimeoutError as error:
            if not limit.expired():
                raise  # the function's own
            raise StepTimeoutError(
                f"step {name!r} did not finish within {seconds} s", step=name, timeout=seconds
            ) from error

    return limited


class TimedCall:
    """A sync call with a time limit, run on a helper thread.

    Python cannot interrupt a running call: after a timeout the helper is left to finish by itself
    (its result is dropped) and the next call gets a new helper.
    """

    __slots__ = ("_call", "_name", "_record", "_requests", "_seconds", "_stopped")

    def __init__(self, call: Any, seconds: float, name: str, record: Any = None) -> None:
        self._record = record
        self._call = call
        self._seconds = seconds
        self._name = name
        self._requests: Any = None
        self._stopped = False

    def __call__(self, *args: Any) -> Any:
        import threading  # noqa: PLC0415
        from queue import SimpleQueue  # noqa: PLC0415 - only where timeouts are set

        if self._requests is None:
            self._requests = SimpleQueue()
            threading.Thread(
                target=_serve,
                args=(self._requests, self._call, OWNER.get()),
                daemon=True,
                name="sage-timeout",
            ).start()
        done = threading.Event()
        box: list[Any] = [None, None]
        record = None if self._record is None else self._record()
        self._requests.put((args, box, done, record))
        if not done.wait(self._seconds):
            self._requests.put(None)
            self._requests = None
            raise StepTimeoutError(
                f"step {self._name!r} did not finish within {self._seconds} s",
                step=self._name,
                timeout=self._seconds,
            )
        if box[1] is not None:
            raise box[1]
        return box[0]

    def stop(self) -> None:
        """End the helper thread once its current call returns."""
        if self._requests is not None:
            self._requests.put(None)
            self._requests = None


def _serve(requests: Any, call: Any, owner: Any) -> None:
    OWNER.set(owner)
    while (request := requests.get()) is not None:
        args, box, done, record = request
        CURRENT.set(record)
        try:
            box[0] = call(*args)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            box[1] = error
        done.set()
