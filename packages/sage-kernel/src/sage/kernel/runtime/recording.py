"""The ledger of a job: opened at submit, given to the steps, told what became of items.

Predecessor: ``sage.kernel.ledger``; successors: ``sage.kernel.runtime.binding`` and the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from sage.api.calls import on_behalf
from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, TaskFailedError
from sage.kernel.checkpoint.settings import fault_tolerance
from sage.kernel.compiler import traits
from sage.kernel.graph.model import FunctionSpec, Node, StreamGraph
from sage.kernel.ledger.calls import StepCalls, is_async
from sage.kernel.ledger.codeversion import functions_of, version_of
from sage.kernel.ledger.current import CURRENT
from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.run import RunLedger, open_run
from sage.kernel.ledger.whole import WHOLE_KINDS, noting_sink, whole_batch, whole_step


class Recording:
    """What a job needs to record its calls.

    Attributes:
        ledger: The calls of the run.
        notes: Whether sinks note their items: some step makes calls.
    """

    def __init__(self, ledger: RunLedger, job: Any, graph: StreamGraph) -> None:
        self.ledger = ledger
        if job.listens("call_started") or job.listens("call_finished"):
            ledger.notify = job.tell_call
        self.notes = any(
            makes_calls(node) or any(map(lends_itself, node.specs)) for node in graph.nodes.values()
        )
        self._versions: dict[int, str] = {}
        self._calls: dict[str, StepCalls] = {}

    def attach(self, node: Node, context: RuntimeContext) -> None:
        """Let ``ctx.call`` of a step go through the ledger."""
        version = self._versions.get(node.id)
        if version is None:
            version = self._versions[node.id] = version_of(*(spec.target for spec in node.specs))
        cache = node.options.cache or "run"
        calls = StepCalls(self.ledger, context, version=version, cache=cache)
        context._calls = self._calls[node.uid] = calls
        if context._services is not None:
            context._services = CarriedServices(context._services, calls)

    def around(
        self, node: Node, spec: FunctionSpec, call: Callable[[Any], Any], context: RuntimeContext
    ) -> Callable[[Any], Any]:
        """``call`` as the engine should make it: recorded as a whole, or noted, where needed."""
        calls: StepCalls = context._calls
        if lends_itself(spec):
            call = lent(call, context)
        if node.kind in WHOLE_KINDS and is_effect(node, spec) and not _takes_part(spec):
            call = whole_step(calls, call, _config_of(spec))
        if node.kind == "sink" and self.notes:
            call = noting_sink(calls, call)
        return call

    def around_batch(
        self,
        node: Node,
        execute: Callable[[list[Any]], Any],
        context: RuntimeContext,
    ) -> Callable[[list[Any]], Any]:
        """The same for ``execute_batch``."""
        spec, calls = node.specs[0], context._calls
        if lends_itself(spec):
            execute = lent(execute, context)
        if is_effect(node, spec) and not _takes_part(spec):
            execute = whole_batch(calls, execute, _config_of(spec))
        return execute

    def close(self) -> None:
        """The job has ended."""
        self.ledger.close()

    def lost(self, node: Node, record: str | None, status: str, error: BaseException) -> None:
        """Note that an item was given up in a step."""
        facts = {"error": f"{type(error).__name__}: {error}"[:500]}
        self._note(node.uid, record, status, facts)

    def failed(self, error: BaseException | None) -> None:
        """Note the item that made the job fail."""
        if isinstance(error, TaskFailedError) and error.item_id is not None:
            facts = {"error": str(error)[:500], "item": error.item}
            try:
                self._note(error.uid, error.item_id, "failed", facts)
            except LedgerError as second:  # which may be why the job fails
                error.add_note(f"not noted in the ledger: {second}")

    def finish(self) -> None:
        """Return when all that the job noted is committed.

        Raises:
            LedgerError: Some of it could not be written.
        """
        self.ledger.store.drain()

    def _note(self, uid: str, record: str | None, status: str, facts: dict[str, Any]) -> None:
        calls = self._calls.get(uid)
        if calls is not None:
            self.ledger.output(calls.step, record, status, facts)


def open_job_ledger(job: Any, graph: StreamGraph) -> RunLedger:
    """The ledger that the settings of a job name.

    Args:
        job: The job; its id is the run's.
        graph: What it runs.

    Raises:
        LedgerError: The file cannot be used.
        ConfigError: The table of prices is wrong.
    """
    settings = fault_tolerance(graph.config)
    assert settings is not None, "made only for environments with fault tolerance"
    return open_run(
        settings.ledger_path,
        job.id,
        name=graph.name,
        durability=settings.durability,
        prices=settings.prices,
    )


def check_ledgered(graph: StreamGraph) -> None:
    """Refuse what a ledger cannot record.

    Raises:
        GraphError: Says which step, and what to do.
    """
    calling = [node for node in graph.nodes.values() if makes_calls(node)]
    if calling and graph.config.get("lineage") is False:
        raise GraphError(
            f"step {calling[0].name!r} makes calls that the ledger records by record id, but the "
            "setting lineage is false: leave it out, or set fault_tolerance.ledger to false"
        )
    for node in calling:
        if node.options.executor == "process":
            raise GraphError(
                f"step {node.name!r} makes calls, and executor='process' runs it where the "
                "ledger cannot record them: use executor='thread' (a call to a server does not "
                "hold the interpreter lock), or set fault_tolerance.ledger to false",
                step=node.name,
            )


def makes_calls(node: Node) -> bool:
    """Whether a step is an effect, or its code names ``ctx.call``."""
    return traits.has_effect(node) or any(_names_call(spec) for spec in node.specs)


def lends_itself(spec: FunctionSpec) -> bool:
    """Whether a step uses objects that make calls on its behalf, such as embedding models."""
    return bool(getattr(spec.target, "calls_on_behalf", False))


def lent(call: Callable[[Any], Any], context: RuntimeContext) -> Callable[[Any], Any]:
    """``call``, during which calls of shared objects belong to the step."""
    if is_async(call):

        async def lent_async(item: Any) -> Any:
            with on_behalf(context):
                return await call(item)

        return lent_async

    def lent_sync(item: Any) -> Any:
        with on_behalf(context):
            return call(item)

    return lent_sync


def is_effect(node: Node, spec: FunctionSpec) -> bool:
    """Whether one function of a step is declared to be an effect."""
    if node.options.effect is not None:
        return node.options.effect
    return bool(getattr(spec.target, "effect", False))


def _takes_part(spec: FunctionSpec) -> bool:
    """Whether a sink commits with the checkpoints, which then is what makes it exactly-once."""
    return hasattr(spec.target, "snapshot") or hasattr(spec.target, "roll_back")


def _config_of(spec: FunctionSpec) -> Any:
    from sage.kernel.state.codec import encode  # noqa: PLC0415 - with a ledger it is loaded
    from sage.kernel.state.errors import StateEncodingError  # noqa: PLC0415 - as above

    given = [list(spec.args), dict(sorted(spec.kwargs.items()))] if spec.is_class else None
    if given is None:
        given = getattr(spec.target, "config", None)
    try:
        encode(given, "configuration")
    except StateEncodingError:
        return repr(given)
    return given


_CALLS: Final = frozenset(("call", "call_many"))


def _names_call(spec: FunctionSpec) -> bool:
    """Whether the code of a function, or of a method of its class, names ``ctx`` and ``call``."""
    return any(
        "ctx" in names and not _CALLS.isdisjoint(names)
        for function in functions_of(spec.target)
        for names in _names(function.__code__)
    )


def _names(code: CodeType) -> Iterator[set[str]]:
    yield {*code.co_names, *code.co_varnames, *code.co_freevars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class CarriedServices:
    """``call`` of a step's services: what they call belongs to the step and its record."""

    def __init__(self, call: Callable[..., Any], calls: StepCalls) -> None:
        self._call = call
        self._calls = calls
        self.__self__ = getattr(call, "__self__", None)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        calls = self._calls
        reset = CURRENT.set(calls.carried())
        try:
            with on_behalf(calls.context):
                result = self._call(name, *args, **kwargs)
        finally:
            CURRENT.reset(reset)
        if hasattr(result, "__await__"):
            return _carried(result, calls)
        return result


async def _carried(awaitable: Any, calls: StepCalls) -> Any:
    with on_behalf(calls.context):
        return await awaitable
