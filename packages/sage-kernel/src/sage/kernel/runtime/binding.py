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
from sage.kernel.runtime.failure import fallback_spec


class Bound:
    """One function of a step in one subtask.

    Attributes:
        instance: The object with the life cycle, or the plain callable.
        call: What the generated code calls.
        context: Set when the instance has a life cycle.
    """

    __slots__ = ("call", "context", "instance", "opened", "shared")

    def __init__(self, instance: Any, call: Any, context: RuntimeContext, shared: bool) -> None:
        self.instance = instance
        self.call = call
        self.context = context
        self.opened = False
        self.shared = shared


class Functions:
    """All functions of the steps of one subtask.

    Attributes:
        calls: node id -> callable (a tuple of two for comap).
        contexts: node id -> runtime context.
        fallbacks: node id -> callable of the fallback operator.
    """

    __slots__ = ("_bound", "_job", "calls", "contexts", "fallbacks", "instances")

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
                self.calls[node.id] = self._comap(bound)
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
        shared = not spec.is_class
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
        bound = Bound(instance, call, context, shared)
        self._bound.append((node, bound))
        return bound

    def _comap(self, bound: list[Bound]) -> tuple[Any, Any]:
        if len(bound) == 1:
            instance = bound[0].instance
            return instance.map1, instance.map2
        return bound[0].call, bound[1].call

    def _timed(self, node: Node, call: Any, asynchronous: bool) -> Any:
        seconds = node.options.timeout
        if seconds is None:
            return call
        if asynchronous:
            return timed_async(call, seconds, node.name)
        return TimedCall(call, seconds, node.name)

    # ------------------------------------------------------------------ life cycle

    def open(self) -> None:
        """Open in order of the steps. On failure those already open stay to be closed."""
        for _, bound in self._bound:
            result = self._open_one(bound)
            if result is not None and hasattr(result, "__await__"):
                result.close()
                raise GraphError(
                    f"{type(bound.instance).__name__}.open is async, but its execute is not: "
                    "make both async or both sync"
                )

    async def open_async(self) -> None:
        """Like ``open``, on the event loop; ``open`` may be async."""
        for _, bound in self._bound:
            result = self._open_one(bound)
            if result is not None and hasattr(result, "__await__"):
                await result

    def _open_one(self, bound: Bound) -> Any:
        instance = bound.instance
        if not hasattr(instance, "open") or not _has_life_cycle(instance):
            return None
        if bound.shared and not self._job.first_use(instance):
            return None
        instance.ctx = bound.context
        bound.opened = True
        return instance.open(bound.context)

    def close(self) -> list[Exception]:
        """Close what was opened, last first; returns what the close methods raised."""
        errors: list[Exception] = []
        for _, bound in reversed(self._bound):
            if bound.opened:
                bound.opened = False
                try:
                    bound.instance.close()
                except Exception as error:  # noqa: BLE001 - all others must be closed too
                    errors.append(error)
            if isinstance(bound.call, TimedCall):
                bound.call.stop()
        for call in self.calls.values():
            if isinstance(call, TimedCall):
                call.stop()
        return errors

    async def close_async(self) -> list[Exception]:
        """Like ``close``, on the event loop; ``close`` may be async."""
        errors: list[Exception] = []
        for _, bound in reversed(self._bound):
            if bound.opened:
                bound.opened = False
                try:
                    result = bound.instance.close()
                    if result is not None and hasattr(result, "__await__"):
                        await result
                except Exception as error:  # noqa: BLE001 - all others must be closed too
                    errors.append(error)
        return errors


def _has_life_cycle(instance: Any) -> bool:
    if isinstance(instance, BaseFunction):
        return True
    return hasattr(instance, "execute") and hasattr(instance, "close")


def collecting(instance: Any, execute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A flatmap call that also returns what the function gave to ``collect``."""

    def call(item: Any) -> Any:
        outputs = execute(item)
        collected = instance.__dict__.pop("_collected", None)
        if collected is None:
            return outputs
        if outputs is not None:
            collected.extend(outputs)
        return collected

    return call


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
        try:
            async with asyncio.timeout(seconds):
                result = call(*args)
                return await result if hasattr(result, "__await__") else result
        except TimeoutError as error:
            raise StepTimeoutError(
                f"step {name!r} did not finish within {seconds} s", step=name, timeout=seconds
            ) from error

    return limited


class TimedCall:
    """A sync call with a time limit, run on a helper thread.

    Python cannot interrupt a running call: after a timeout the helper is left to finish by itself
    (its result is dropped) and the next call gets a new helper.
    """

    __slots__ = ("_call", "_name", "_requests", "_seconds", "_stopped")

    def __init__(self, call: Any, seconds: float, name: str) -> None:
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
                target=_serve, args=(self._requests, self._call), daemon=True, name="sage-timeout"
            ).start()
        done = threading.Event()
        box: list[Any] = [None, None]
        self._requests.put((args, box, done))
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


def _serve(requests: Any, call: Any) -> None:
    while (request := requests.get()) is not None:
        args, box, done = request
        try:
            box[0] = call(*args)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            box[1] = error
        done.set()
