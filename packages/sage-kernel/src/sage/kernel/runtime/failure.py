"""What happens to an item whose step raised: retry, fall back, skip, dead-letter, or end the job.

The generated code calls ``FailureHandler.handle`` (or ``handle_async``) at the very call that
failed, with the input of that call, and goes on with the value it returns or skips the item on
``SKIP``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sage.common.errors import TaskFailedError
from sage.kernel.compiler.writer import publish_sources
from sage.kernel.graph.model import FunctionSpec, Node
from sage.kernel.runtime.channel import ChannelAborted
from sage.kernel.runtime.metrics import StepMetrics
from sage.kernel.runtime.policy import next_delay

if TYPE_CHECKING:
    from sage.kernel.compiler.inline import Inlined


class Skip:
    """The item is gone; falsy, so that a filter drops it."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "SKIP"


SKIP = Skip()


class TaskAbort(BaseException):
    """Ends the task; ``error`` is what the job will raise."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Opening:
    """In the place of an item: the step failed in ``open``, before the first one."""

    def __repr__(self) -> str:
        return "open()"


OPENING = Opening()


def shorten(item: Any, limit: int = 200) -> str:
    """A repr of at most ``limit`` characters that never raises."""
    try:
        text = repr(item)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not hide the real failure
        text = f"<{type(item).__name__}: repr failed with {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class FailureHandler:
    """Applies the policies of the steps of one task.

    Args:
        job: Owner: gives name, dead letters and an interruptible sleep.
        steps: Metrics by node id.
        locate: Finds the record id for what the generated code knows of its position.
        again: Calls the function of a node once more: ``again(node id, value, key)``.
        fallbacks: Fallback operators by node id.
        send: Hands a dead letter to the streams that read them.

    Attributes:
        inlined: Functions that run pasted into the generated code, by node id.
    """

    __slots__ = ("_again", "_fallbacks", "_job", "_locate", "_nodes", "_send", "_steps", "inlined")

    def __init__(
        self,
        job: Any,
        nodes: dict[int, Node],
        steps: dict[int, StepMetrics],
        locate: Callable[[Any], str | None],
        again: Callable[[Any, Any, Any], Any],
        fallbacks: dict[int, Callable[[Any], Any]],
        send: Callable[[Node, dict[str, Any]], None],
    ) -> None:
        self._job = job
        self._nodes = nodes
        self._steps = steps
        self._locate = locate
        self._again = again
        self._fallbacks = fallbacks
        self._send = send
        self.inlined: dict[int, Inlined] = {}

    def handle(
        self, ident: Any, value: Any, error: Exception, n: Any, key: Any, partial: bool = False
    ) -> Any:
        """Return the value to go on with, or ``SKIP``; raise ``TaskAbort`` to end the job.

        Args:
            ident: Node id, or ``(node id, input index)`` where a node has several functions.
            partial: The call had put out something already: it is not tried again.
        """
        node, step = self._begin(ident)
        if node.id in self.inlined:
            error = self.inlined[node.id].note(error)
        attempt = 1
        while not partial and (delay := self._delay(node, attempt, error)) is not None:
            step.retries += 1
            if not self._job.sleep(delay):
                raise ChannelAborted
            attempt += 1
            try:
                return self._again(ident, value, key)
            except Exception as again:  # noqa: BLE001 - the task boundary
                step.errors += 1
                error = again
        if node.id in self._fallbacks and not partial:
            try:
                result = self._fallbacks[node.id](value)
            except Exception as second:
                second.__context__ = error
                step.errors += 1
                raise self._abort(node, value, second, n) from second
            step.fallbacks += 1
            return result
        return self._give_up(node, value, error, n, attempt)

    async def handle_async(
        self, ident: Any, value: Any, error: Exception, n: Any, key: Any, partial: bool = False
    ) -> Any:
        """Like ``handle``, on the event loop."""
        node, step = self._begin(ident)
        attempt = 1
        while not partial and (delay := self._delay(node, attempt, error)) is not None:
            step.retries += 1
            await self._job.sleep_async(delay)
            attempt += 1
            try:
                result = self._again(ident, value, key)
                return await result if isinstance(result, Coroutine) else result
            except Exception as again:  # noqa: BLE001 - the task boundary
                step.errors += 1
                error = again
        if node.id in self._fallbacks and not partial:
            try:
                result = self._fallbacks[node.id](value)
                if isinstance(result, Coroutine):
                    result = await result
            except Exception as second:
                second.__context__ = error
                step.errors += 1
                raise self._abort(node, value, second, n) from second
            step.fallbacks += 1
            return result
        return self._give_up(node, value, error, n, attempt)

    def fail_batch(self, node: Node, value: Any, error: Exception, n: Any) -> Any:
        """Policy for one item of a failed batch call (no retry: the caller did that)."""
        self._begin(node.id)
        return self._give_up(node, value, error, n, 1)

    def delay(self, node: Node, attempt: int, error: Exception) -> float | None:
        """Seconds to wait before the next attempt, ``None`` for no more."""
        return self._delay(node, attempt, error)

    def _begin(self, ident: Any) -> tuple[Node, StepMetrics]:
        node = self._nodes[ident[0] if isinstance(ident, tuple) else ident]
        step = self._steps[node.id]
        step.errors += 1
        return node, step

    def _delay(self, node: Node, attempt: int, error: Exception) -> float | None:
        return next_delay(node.options.retry, attempt, error)

    def _give_up(self, node: Node, value: Any, error: Exception, n: Any, attempts: int) -> Any:
        step = self._steps[node.id]
        policy = node.options.on_error
        step.lost += 1
        recording = self._job.recording
        if recording is not None and policy in ("skip", "dead_letter"):
            status = "skipped" if policy == "skip" else policy
            recording.lost(node, self._locate(n), status, error)
        if policy == "skip":
            return SKIP
        if policy == "dead_letter":
            step.dead_letters += 1
            letter = self._job.letters.write(node, self._locate(n), value, error, attempts)
            self._send(node, letter)
            return SKIP
        raise self._abort(node, value, error, n) from error

    def _abort(self, node: Node, value: Any, error: Exception, n: Any) -> TaskAbort:
        return TaskAbort(task_failed(self._job.name, node, self._locate(n), value, error))


def task_failed(
    job: str, node: Node, item_id: str | None, value: Any, error: BaseException
) -> TaskFailedError:
    """The error a failed step surfaces as, with the original as its cause."""
    publish_sources()
    where = f" ({node.location[0]}:{node.location[1]})" if node.location else ""
    item = shorten(value)
    told = "of unknown id" if item_id is None else item_id
    what = "could not be opened" if value is OPENING else f"failed on item {told} = {item}"
    failed = TaskFailedError(
        f"job {job!r}: step {node.name!r}{where} {what}: {type(error).__name__}: {error}",
        job=job,
        operator=node.name,
        uid=node.uid,
        item_id=item_id,
        item=item,
    )
    failed.__cause__ = error
    return failed


def no_route(node: Node, name: Any) -> LookupError:
    """A route function named a route that nobody reads."""
    ports = ", ".join(repr(port) for port in node.params.get("ports", ()))
    return LookupError(
        f"route {node.name!r} returned {name!r}, which is none of its routes ({ports}); "
        "add that route, or read .default"
    )


def fallback_spec(node: Node) -> FunctionSpec | None:
    """The fallback operator of a step, when ``on_error`` is one."""
    policy = node.options.on_error
    return policy if isinstance(policy, FunctionSpec) else None
