"""Runs made from a recorded run: replays, which make no call, and forks, which make some.

Predecessor: ``sage.kernel.ledger``; successors: ``job.replay``, ``job.fork`` and the JobManager's
runner.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sage.api.functions import FilterFunction, SinkFunction
from sage.common.errors import GraphError, JobError
from sage.common.paths import ensure_dir
from sage.kernel.checkpoint.runs import note_fork
from sage.kernel.checkpoint.settings import fault_tolerance
from sage.kernel.compiler import traits
from sage.kernel.graph.model import Edge, FunctionSpec, Node, StepOptions, StreamGraph
from sage.kernel.graph.options import suggest
from sage.kernel.ledger import report
from sage.kernel.ledger.records import origin_of, root_of
from sage.kernel.ledger.run import RunLedger, open_run
from sage.kernel.runtime.job import Job
from sage.kernel.runtime.local.submit import new_job_id, submit_local

LOST: Final = ("failed", "dead_letter")


class NotRun(SinkFunction[Any]):
    """In the place of a sink with effects outside, which a replay must not repeat."""

    def execute(self, item: Any) -> None:
        """Drop the item."""


class Where(FilterFunction[Any]):
    """Lets only some of a source's records through."""

    def __init__(self, roots: frozenset[str]) -> None:
        super().__init__()
        self._roots = roots

    def execute(self, item: Any) -> bool:
        """Whether the record in hand is one of them."""
        return self.ctx.record_id in self._roots


def replay_run(
    graph: StreamGraph,
    store: Path,
    run: str,
    *,
    output: str | os.PathLike[str] | None = None,
    job_id: str | None = None,
) -> Job:
    """Run a graph again with the calls of a recorded run.

    Args:
        graph: The graph that run had.
        store: Folder with ``ledger.sqlite`` and the run's folder.
        run: Id of the run.
        output: Folder for what file sinks write; default: ``replays/N`` in the run's folder.
        job_id: Id of the job; default: a new one.

    Raises:
        LedgerError: The run was not recorded.
    """
    ledger = _open(graph, store, run, mode="replay")
    try:
        folder = Path(output) if output is not None else _next(store / _safe(graph.name) / run)
        copy, not_run = _apart(graph, folder, effects=False)
        return _start(copy, ledger, f"replay of run {run}", folder, not_run, job_id)
    except BaseException:
        ledger.close()
        raise


def fork_run(
    graph: StreamGraph,
    store: Path,
    run: str,
    *,
    from_: str | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the command line
    where: str | None = None,
    output: str | os.PathLike[str] | None = None,
    effects: bool = False,
    job_id: str | None = None,
) -> Job:
    """Run a graph again as a new run, from one step on; see ``Job.fork``.

    With the ``job_id`` of a fork that was broken off it finds the calls that one made.

    Raises:
        LedgerError: The run was not recorded.
        GraphError: There is no such step, or ``set`` does not fit it.
        JobError: No item matches ``where``.
    """
    if set and from_ is None:
        raise JobError(f"fork: set={dict(set)!r} needs from_, the step it is the configuration of")
    if from_ is None and where is None:
        raise JobError("fork: say from which step (from_=...), or for which items (where=...)")
    first = None if from_ is None else _step(graph, from_)
    fresh = () if first is None else [graph.nodes[i].uid for i in downstream(graph, first.id)]
    roots = None if where is None else _roots(store / "ledger.sqlite", run, where)
    new = job_id or new_job_id()
    ledger = _open(graph, store, new, mode="fork", parent=run, fresh=fresh)
    try:
        home = store / _safe(graph.name) / new
        folder = Path(output) if output is not None else home / "output"
        copy, not_run = _apart(graph, folder, effects=effects)
        if first is not None and set:
            _configure(copy.nodes[first.id], set)
        if roots is not None:
            _only(copy, roots)
        what = f"fork of run {run}" + (f" from {first.name!r}" if first is not None else "")
        note_fork(home, new, graph.name, run, "RUNNING")
        job = _start(copy, ledger, what, folder, not_run, new)
        job.when_ended(lambda ended: note_fork(home, new, graph.name, run, ended.status))
        return job
    except BaseException:
        ledger.close()
        raise


def downstream(graph: StreamGraph, start: int) -> set[int]:
    """The node and all that its items reach, feedback included."""
    reached: set[int] = set()
    todo = [start]
    while todo:
        at = todo.pop()
        if at in reached:
            continue
        reached.add(at)
        for node in graph.nodes.values():
            filled = node.params.get("filled_by")
            edges = [*node.inputs, *([filled] if isinstance(filled, Edge) else [])]
            if any(edge.source == at for edge in edges):
                todo.append(node.id)
    return reached


def _open(graph: StreamGraph, store: Path, run: str, **options: Any) -> RunLedger:
    settings = fault_tolerance(graph.config)
    return open_run(
        store / "ledger.sqlite",
        run,
        name=graph.name,
        durability="power" if settings is None else settings.durability,
        prices=None if settings is None else settings.prices,
        **options,
    )


def _start(
    graph: StreamGraph,
    ledger: RunLedger,
    what: str,
    folder: Path,
    not_run: Iterable[str],
    job_id: str | None,
) -> Job:
    def tell(job: Job) -> None:
        job.log(f"{what}; file sinks write to {folder}")
        for name in not_run:
            job.log(f"sink {name!r} has effects outside and does not run")

    return submit_local(graph, job_id, ledger=ledger, before=tell)


def _apart(graph: StreamGraph, folder: Path, *, effects: bool) -> tuple[StreamGraph, list[str]]:
    """A copy of the graph whose sinks do not touch what the recorded run wrote."""
    config = {key: value for key, value in graph.config.items() if key != "fault_tolerance"}
    copy = StreamGraph(graph.name, {**config, "dead_letter_dir": str(folder)})
    copy.services = graph.services
    taken: dict[str, int] = {}
    not_run = []
    for node in graph.nodes.values():
        made = _copied(node)
        if node.kind == "sink":
            keys = [getattr(spec.target, "path_keys", ()) for spec in node.specs]
            if any(keys):
                made.specs = tuple(_moved(node, spec, folder, taken) for spec in node.specs)
            elif traits.has_effect(node) and not effects:
                made.specs = (FunctionSpec(NotRun),)
                not_run.append(node.name)
        copy.nodes[node.id] = made
    if taken:
        ensure_dir(folder)
    return copy, not_run


def _copied(node: Node) -> Node:
    return Node(
        node.id,
        node.kind,
        node.name,
        uid=node.uid,
        specs=node.specs,
        options=node.options,
        inputs=node.inputs,
        params=node.params,
        in_type=node.in_type,
        out_type=node.out_type,
        location=node.location,
    )


def _moved(node: Node, spec: FunctionSpec, folder: Path, taken: dict[str, int]) -> FunctionSpec:
    """The sink with its files in the folder."""
    changes = {}
    given = _config(node, spec)
    for key in spec.target.path_keys:
        if given.get(key) is None:
            continue
        name = Path(str(given[key])).name
        taken[name] = taken.get(name, 0) + 1
        changes[key] = str(folder / (name if taken[name] == 1 else f"{taken[name]}-{name}"))
    return _with(node, spec, changes)


def _config(node: Node, spec: FunctionSpec) -> dict[str, Any]:
    if spec.is_class:
        first = spec.args[0] if spec.args else None
        base = dict(first) if isinstance(first, Mapping) else _fields(first)
        return {**base, **spec.kwargs}
    return _fields(getattr(spec.target, "config", None))


def _fields(config: Any) -> dict[str, Any]:
    if isinstance(config, Mapping):
        return dict(config)
    names = [field.name for field in getattr(type(config), "__attrs_attrs__", ())]
    return {name: getattr(config, name) for name in names}


def _with(node: Node, spec: FunctionSpec, changes: Mapping[str, Any]) -> FunctionSpec:
    """The same function with some keys of its configuration changed."""
    if not changes:
        return spec
    if spec.is_class:
        if len(spec.args) > 1 or (spec.args and not _fields(spec.args[0]) and spec.args[0] != {}):
            raise GraphError(
                f"step {node.name!r} is not configured by a mapping, so {sorted(changes)} cannot "
                "be changed",
                step=node.name,
            )
        return FunctionSpec(
            spec.target, (_config(node, spec) | dict(changes),), {}, spec.registered
        )
    if not hasattr(spec.target, "config"):
        raise GraphError(
            f"step {node.name!r} is a function without configuration, so {sorted(changes)} cannot "
            "be changed",
            step=node.name,
        )
    return FunctionSpec(type(spec.target), (_config(node, spec) | dict(changes),))


def configure_step(graph: StreamGraph, name: str, changes: Mapping[str, Any]) -> None:
    """Change the configuration of a step in place, as a fork with ``set`` does in its copy.

    Raises:
        GraphError: There is no such step, or ``changes`` do not fit it.
    """
    _configure(_step(graph, name), changes)


def _configure(node: Node, changes: Mapping[str, Any]) -> None:
    node.specs = tuple(_with(node, spec, changes) for spec in node.specs)


def _only(graph: StreamGraph, roots: frozenset[str]) -> None:
    """Put a filter behind each source."""
    sources = [node for node in graph.nodes.values() if node.kind == "source"]
    known = {node.uid for node in sources}
    strange = sorted(root for root in roots if origin_of(root) not in known)
    if strange:
        raise JobError(
            f"fork: {strange[0]!r} was numbered by a step that makes records of its own (a window, "
            "join or the like), so the records it came from are not known; fork without where"
        )
    for source in sources:
        number = max(graph.nodes) + 1
        for node in list(graph.nodes.values()):
            node.inputs = tuple(
                Edge(number, edge.port) if edge.source == source.id else edge
                for edge in node.inputs
            )
        graph.nodes[number] = Node(
            number,
            "filter",
            f"where-{number}",
            uid=f"where-{source.uid}",
            specs=(FunctionSpec(Where, (roots,)),),
            options=StepOptions(),
            inputs=(Edge(source.id),),
            out_type=source.out_type,
        )


def _step(graph: StreamGraph, name: str) -> Node:
    for node in graph.nodes.values():
        if name in (node.name, node.uid):
            return node
    names = [node.name for node in graph.nodes.values()]
    short = [node for node in graph.nodes.values() if node.name.partition(":")[2] == name]
    if len(short) == 1:
        return short[0]
    raise GraphError(
        f"there is no step {name!r}{suggest(name, names)} (steps: {', '.join(names)})", step=name
    )


def _roots(path: Path, run: str, where: str) -> frozenset[str]:
    """The source records that ``where`` names."""
    key, _, value = where.partition("=")
    if key not in ("status", "record") or not value:
        raise JobError(f"fork: where must be 'status=...' or 'record=ID,ID', got {where!r}")
    if key == "record":
        return frozenset(root_of(each.strip()) for each in value.split(","))
    wanted = LOST if value == "failed" else (value,)
    found = report.outputs(path, run)
    roots = frozenset(root_of(output.record) for output in found if output.status in wanted)
    if not roots:
        raise JobError(f"fork: no item of run {run!r} has {where}")
    return roots


def _next(run: Path) -> Path:
    replays = run / "replays"
    number = 1 + max((int(p.name) for p in replays.glob("*") if p.name.isdigit()), default=0)
    return replays / str(number)


def _safe(name: str) -> str:
    from sage.kernel.checkpoint.runs import safe_name  # noqa: PLC0415 - fcntl, not on every system

    return safe_name(name)
