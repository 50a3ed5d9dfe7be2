"""The graph that is evaluated: the production graph with another source and another sink.

A pipeline file keeps its steps: its source is replaced by the questions of the data set, its sink
by the evaluators and the collector of results, and steps that do not lead to that sink are left
out (nothing is written to where production writes). A program exposes ``build(env, source)``, which
declares its steps on a stream of ``Query`` and returns the stream of its results.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from sage.api import LocalEnvironment
from sage.api.datastream import DataStream
from sage.apps.evaluation import builtin
from sage.apps.evaluation.builtin import BuiltinOptions
from sage.apps.evaluation.dataset import Dataset
from sage.common.errors import ConfigError, NotFoundError
from sage.kernel.cli.pipeline import apply, is_program, overrides
from sage.kernel.graph.inference import infer
from sage.kernel.graph.model import Edge, Node, StreamGraph
from sage.kernel.graph.options import suggest
from sage.kernel.graph.spec import read_spec
from sage.kernel.graph.steps import make_spec
from sage.lib.types import Query, Retrieved


@attrs.frozen(kw_only=True)
class Target:
    """What the user wants evaluated.

    Attributes:
        pipeline: Name of a built-in pipeline, a pipeline file or a program.
        config: File with configuration of the steps.
        settings: ``STEP.KEY=VALUE``.
        allow: Modules whose operators a pipeline file may name.
        source, sink: Ids of the steps to replace, where there are several.
        options: Of built-in pipelines.
    """

    pipeline: str
    config: Path | None = None
    settings: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    source: str | None = None
    sink: str | None = None
    options: BuiltinOptions = attrs.field(factory=BuiltinOptions)

    @property
    def name(self) -> str:
        """Short name, for folders and tables."""
        return self.pipeline if self.is_builtin else Path(self.pipeline).stem

    @property
    def is_builtin(self) -> bool:
        """Whether it is a built-in pipeline."""
        return self.pipeline in builtin.NAMES

    def check(self) -> None:
        """Raise when there is no such pipeline.

        Raises:
            NotFoundError: Neither a file nor a built-in name.
            ConfigError: A file of another kind, or options that do not belong to it.
        """
        if self.is_builtin:
            if self.config or self.settings or self.source or self.sink:
                raise ConfigError(
                    f"{self.pipeline}: --config, --set, --source and --sink are for pipeline files"
                )
            return
        if not Path(self.pipeline).is_file():
            hint = suggest(self.pipeline, builtin.NAMES)
            raise NotFoundError(
                f"{self.pipeline!r} is no file and no built-in pipeline{hint} "
                f"(built in: {', '.join(builtin.NAMES)})"
            )
        program = is_program(Path(self.pipeline))
        if program and (self.config or self.settings or self.source or self.sink):
            raise ConfigError(
                f"{self.pipeline}: a program reads its own configuration and declares its own "
                "ends; --config, --set, --source and --sink are for pipeline files"
            )
        if chosen := self.options.chosen():
            instead = "set it in the program" if program else "set the key of a step, STEP.KEY"
            raise ConfigError(
                f"{self.pipeline}: {', '.join(chosen)}: for built-in pipelines only "
                f"({', '.join(builtin.NAMES)}); {instead}"
            )

    def fingerprint(self) -> str:
        """Hash of everything that decides what runs; a resumed run must have the same."""
        parts: list[Any] = [self.pipeline if self.is_builtin else "file"]
        if self.is_builtin:
            parts.append({**attrs.asdict(self.options), "concurrency": None})
        else:
            parts.append(Path(self.pipeline).read_text(encoding="utf-8", errors="replace"))
            parts += [self.settings, self.source, self.sink]
            if self.config is not None:
                parts.append(self.config.read_text(encoding="utf-8", errors="replace"))
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


@attrs.frozen(kw_only=True)
class Built:
    """A declared pipeline.

    Attributes:
        stream: Its results.
        source: The step that gives the questions.
    """

    stream: DataStream[Any]
    source: Node

    def ask(self, queries: Sequence[Query]) -> None:
        """Give it other questions."""
        self.source.specs = (make_spec(list(queries), (), {}, "source"),)


def build(target: Target, dataset: Dataset, index_dir: Path) -> Built:
    """Declare the pipeline over the questions of a data set.

    Raises:
        GraphError: The pipeline file is wrong.
        ConfigError: It cannot be told what to replace, or the program has no ``build``.
    """
    if target.is_builtin:
        env = LocalEnvironment(target.name)
        asked = env.from_collection(list(dataset.queries), type=Query)
        stream = builtin.build(target.pipeline, asked, dataset, target.options, index_dir)
        return Built(stream=stream, source=env.stream_graph.nodes[asked.edge.source])
    if is_program(Path(target.pipeline)):
        return _from_program(Path(target.pipeline), dataset.queries)
    spec = read_spec(target.pipeline)
    for values, where in overrides(target.config, target.settings):
        apply(spec, values, where)
    env = LocalEnvironment.from_spec(spec, allow=target.allow, name=target.pipeline)
    return replace_ends(env, dataset.queries, source=target.source, sink=target.sink)


def gives_answers(stream: DataStream[Any]) -> bool:
    """Whether the results are answers; ``False`` when they are known to be passages only."""
    infer(stream.environment.stream_graph)
    return stream.environment.stream_graph.nodes[stream.edge.source].out_type is not Retrieved


def replace_ends(
    env: LocalEnvironment, queries: Sequence[Query], *, source: str | None, sink: str | None
) -> Built:
    """Put questions in place of a graph's source and cut off its sink; returns what led to it.

    Raises:
        ConfigError: There are several and it was not said which.
    """
    graph = env.stream_graph
    end = _one(graph, "sink", sink, list(graph.nodes.values()))
    edge = end.inputs[0]
    keep = _leading_to(graph, edge)
    start = _one(graph, "source", source, [graph.nodes[each] for each in sorted(keep)])
    for each in [each for each in graph.nodes if each not in keep]:
        del graph.nodes[each]
    start.specs = (make_spec(list(queries), (), {}, "source"),)
    start.params = {"finite": True}
    start.options.type = Query
    stream = DataStream[Any](env, graph.nodes[edge.source], edge.port)
    return Built(stream=stream, source=start)


def dead_letters_for_failures(env: Any) -> None:
    """Let items that fail go to the dead letters, where the pipeline says nothing else."""
    for node in env.stream_graph.nodes.values():
        if node.kind in ("map", "flatmap", "filter", "process") and node.options.on_error == "fail":
            node.options.on_error = "dead_letter"


def _one(graph: StreamGraph, kind: str, wanted: str | None, nodes: list[Node]) -> Node:
    found = [node for node in nodes if node.kind == kind]
    if wanted is not None:
        named = [node for node in found if wanted in (node.uid, node.name)]
        if named:
            return named[0]
    elif len(found) == 1:
        return found[0]
    ids = ", ".join(repr(node.uid) for node in found) or "none"
    hint = f"no {kind} has the id {wanted!r}" if wanted else f"expected one {kind}"
    raise ConfigError(f"pipeline {graph.name!r}: {hint}, it has {ids}; choose with --{kind} ID")


def _leading_to(graph: StreamGraph, edge: Edge) -> set[int]:
    keep: set[int] = set()
    waiting = [edge]
    while waiting:
        node = graph.nodes[waiting.pop().source]
        if node.id in keep:
            continue
        keep.add(node.id)
        waiting += node.inputs
        filled = node.params.get("filled_by")
        waiting += [filled] if isinstance(filled, Edge) else []
        # A loop is whole or broken: steps of a body come with their entry.
        loop = node.params.get("loop")
        waiting += [
            Edge(n.id) for n in graph.nodes.values() if loop and n.params.get("loop") == loop
        ]
    return keep


def _from_program(path: Path, queries: Sequence[Query]) -> Built:
    added = str(path.resolve().parent)
    sys.path.insert(0, added)
    found = runpy.run_path(str(path), run_name="sage_eval_program")
    make = found.get("build")
    if not callable(make):
        raise ConfigError(
            f"{path}: has no function build(env, source); it declares the steps on the stream of "
            "questions and returns the stream of answers (guard the rest by __name__)"
        )
    env = LocalEnvironment(path.stem)
    asked = env.from_collection(list(queries), type=Query)
    stream = make(env, asked)
    if not isinstance(stream, DataStream) or stream.environment is not env:
        raise ConfigError(
            f"{path}: build(env, source) must return the stream of answers, got {stream!r}"
        )
    return Built(stream=stream, source=env.stream_graph.nodes[asked.edge.source])
