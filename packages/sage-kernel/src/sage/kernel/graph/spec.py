"""``GraphSpec``: a pipeline as data (YAML or JSON), written and read without running its code.

::

    version: 1
    name: rag
    config: {fusion: true}
    services: {memory_service: {registered: memory_service, args: []}}
    steps:
      - {id: questions, kind: source, op: FileSource, config: {file_path: q.txt}}
      - {id: retrieve, kind: map, op: DenseRetriever, config: {top_k: 5}, inputs: [questions]}
      - {id: out, kind: sink, op: TerminalSink, inputs: [retrieve], options: {timeout: 5}}

``id`` is the uid of the step, and its name unless the options have another. An input is an id, or
``{step: id, port: name}``. Steps with several functions have ``ops``. ``filled_by`` of a future is
an input.

Predecessor: ``env.to_spec()``; successor: ``sage.kernel.graph.builder``.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sage.api.retry import RetryPolicy
from sage.common.errors import GraphError
from sage.kernel.graph.builder import add_node
from sage.kernel.graph.loops import adapt
from sage.kernel.graph.model import KINDS, STEP_OPTIONS, Edge, FunctionSpec, Node, StreamGraph
from sage.kernel.graph.operations import (
    LOOP_PARTS,
    SpecError,
    plain,
    read_operation,
    read_type,
    reference,
    resolve,
    write_operation,
    write_type,
)
from sage.kernel.graph.options import suggest
from sage.kernel.graph.settings import check_settings

VERSION = 1
"""Version of the schema; a file of another version is refused."""

_TOP = {"version", "name", "config", "services", "steps"}
_STEP = {
    "id",
    "kind",
    "op",
    "ops",
    "config",
    "args",
    "kwargs",
    "items",
    "until",
    "predicates",
    "inputs",
    "options",
    "params",
    "loop",
}
_OPERATION = {"op", "config", "args", "kwargs", "items", "until", "predicates"}
_HIDDEN_OPTIONS = {"uid"}


def to_spec(graph: StreamGraph) -> dict[str, Any]:
    """The graph as plain data.

    Raises:
        GraphError: A step or service cannot be found again by a name; says which and what to do.
    """
    ids = {node.id: node.uid for node in graph.nodes.values()}
    spec: dict[str, Any] = {"version": VERSION, "name": graph.name}
    if graph.config:
        spec["config"] = plain(graph.config, graph.name, "config")
    if graph.services:
        spec["services"] = {
            name: _write_service(name, *entry) for name, entry in sorted(graph.services.items())
        }
    spec["steps"] = [_write_step(node, ids) for node in graph.nodes.values()]
    return spec


def _write_step(node: Node, ids: Mapping[int, str]) -> dict[str, Any]:
    step: dict[str, Any] = {"id": node.uid, "kind": node.kind}
    operations = [write_operation(spec, node.name) for spec in node.specs]
    if len(operations) == 1:
        step.update(operations[0])
    elif operations:
        step["ops"] = operations
    if node.inputs:
        step["inputs"] = [_write_edge(edge, ids) for edge in node.inputs]
    options = {
        key: _write_option(key, value, node.name)
        for key, value in node.options.items()
        if key not in _HIDDEN_OPTIONS and not (key == "name" and value == node.uid)
    }
    if options:
        step["options"] = options
    params = {}
    for key, value in node.params.items():
        if key == "loop":
            step["loop"] = value
        elif key == "filled_by":
            if value is not None:
                params[key] = _write_edge(value, ids)
        elif value is not None or (node.kind == "reduce" and key == "initial"):
            if callable(value):
                raise GraphError(
                    f"step {node.name!r} cannot be written to a spec: its {key!r} is a function; "
                    "use a plain value that is not a list or mapping",
                    step=node.name,
                )
            params[key] = plain(value, node.name, key)
    if params:
        step["params"] = params
    return step


def _write_edge(edge: Edge, ids: Mapping[int, str]) -> Any:
    step = ids.get(edge.source, f"?{edge.source}")
    return step if edge.port is None else {"step": step, "port": edge.port}


def _write_option(key: str, value: Any, step: str) -> Any:
    if isinstance(value, RetryPolicy):
        shown: dict[str, Any] = {
            slot: getattr(value, slot)
            for slot in ("max_attempts", "initial_delay", "multiplier", "max_delay", "jitter")
        }
        if value.on != (Exception,):
            shown["on"] = [_write_exception(kind, step) for kind in value.on]
        return shown
    if isinstance(value, FunctionSpec):
        return write_operation(value, step)
    if key == "type":
        return write_type(value, step)
    return plain(value, step, key)


def _write_exception(kind: type[Exception], step: str) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else reference(kind, step)


def _write_service(name: str, factory: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    registered = getattr(factory, "name", None) if not isinstance(factory, type) else None
    if isinstance(registered, str) and type(factory).__name__ == "ServiceFactory":
        entry: dict[str, Any] = {"registered": registered}
    else:
        entry = {"op": reference(factory, f"service {name}")}
    if args:
        entry["args"] = plain(list(args), f"service {name}", "args")
    if kwargs:
        entry["kwargs"] = plain(dict(kwargs), f"service {name}", "kwargs")
    return entry


class Place:
    """Where in which file something was read; makes errors that say so."""

    __slots__ = ("file", "path")

    def __init__(self, file: str, path: str = "") -> None:
        self.file = file
        self.path = path

    def at(self, *keys: Any) -> Place:
        """The place of an inner key or index."""
        path = self.path
        for key in keys:
            path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
        return Place(self.file, path)

    def error(self, key: str, message: str) -> SpecError:
        """An error about ``key`` (empty: about the place itself)."""
        path = self.at(key).path if key else self.path
        return SpecError(f"{self.file}: {path or 'spec'}: {message}", file=self.file, key=path)

    def known(self, raw: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Refuse other keys."""
        known = sorted(keys)
        for key in raw:
            if key not in known:
                hint = suggest(str(key), known)
                raise self.error(str(key), f"unknown key{hint} (known: {', '.join(known)})")

    def mapping(self, raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """The mapping under ``key``; empty when absent."""
        value = raw.get(key)
        return self.mapping_in(key, None, {} if value is None else value)

    def mapping_in(self, key: str, index: int | None, value: Any) -> Mapping[str, Any]:
        """``value``, which must be a mapping."""
        if not isinstance(value, Mapping):
            shown = key if index is None else f"{key}[{index}]"
            raise self.error(shown, f"must be a mapping, got {value!r}")
        return value

    def sequence(self, raw: Mapping[str, Any], key: str) -> list[Any]:
        """The list under ``key``; empty when absent."""
        value = raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(key, f"must be a list, got {value!r}")
        return value


def read_spec(source: Any) -> dict[str, Any]:
    """The plain mapping of a spec file or text, not yet checked.

    Raises:
        SpecError: It cannot be read, or is no mapping.
    """
    return dict(_read(source)[0])


def load_spec(source: Any, *, allow: Iterable[str] = (), name: str | None = None) -> StreamGraph:
    """The graph of a spec.

    Args:
        source: Path of a file, YAML or JSON text (more than one line, or starting with ``{``), or
            a mapping.
        allow: Patterns of modules that ``module:Class`` may name, e.g. ``["mypkg.*"]``.
        name: What messages call it, when ``source`` is a mapping that was read from a file.

    Raises:
        SpecError: Names file and key.
    """
    raw, place = _read(source)
    place = Place(name or place.file)
    allowed = [allow] if isinstance(allow, str) else list(allow)
    place.known(raw, _TOP)
    if raw.get("version") != VERSION:
        raise place.error("version", f"must be {VERSION}, got {raw.get('version')!r}")
    title = raw.get("name")
    if not isinstance(title, str) or not title.strip():
        raise place.error("name", f"must be a non-empty string, got {title!r}")
    try:
        config = check_settings(place.mapping(raw, "config"), "config")
    except SpecError:
        raise
    except GraphError as exc:
        raise place.error("config", str(exc)) from exc
    graph = StreamGraph(title, config)
    for service, entry in place.mapping(raw, "services").items():
        graph.services[service] = _read_service(entry, place.at("services", service), allowed)
    steps = place.sequence(raw, "steps")
    ids: dict[str, int] = {}
    for i, step in enumerate(steps):
        at = place.at("steps", i)
        place.mapping_in("steps", i, step)
        step_id = step.get("id")
        if not isinstance(step_id, str) or not step_id:
            raise at.error("id", f"must be a non-empty string, got {step_id!r}")
        if step_id in ids:
            raise at.error("id", f"{step_id!r} is used twice")
        ids[step_id] = i
    for i, step in enumerate(steps):
        _read_step(graph, step, place.at("steps", i), ids, allowed)
    return graph


def _read(source: Any) -> tuple[Mapping[str, Any], Place]:
    if isinstance(source, Mapping):
        return source, Place("spec")
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        text, file = source, "spec"
    elif isinstance(source, (str, os.PathLike)):
        file = os.fspath(source)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise SpecError(f"{file}: cannot be read: {exc}", file=file) from exc
    else:
        raise SpecError(f"a spec must be a path, text or a mapping, got {type(source).__name__}")
    import yaml  # noqa: PLC0415 - 15 ms

    class Loader(yaml.SafeLoader):
        """Plain values only; a key given twice is an error and not silently the last."""

    def mapping(loader: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))) or key in seen:
                line = key_node.start_mark.line + 1
                raise SpecError(f"{file}:{line}: key {key!r} is given twice or no plain value")
            seen.add(key)
        loader.flatten_mapping(node)
        made: dict[Any, Any] = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
        return made

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        raw = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise SpecError(f"{file}: is no valid YAML: {exc}", file=file) from exc
    if not isinstance(raw, Mapping):
        raise SpecError(f"{file}: must be a mapping with name and steps, got {raw!r}", file=file)
    return raw, Place(file)


def _read_step(
    graph: StreamGraph, raw: Mapping[str, Any], at: Place, ids: Mapping[str, int], allow: list[str]
) -> None:
    at.known(raw, _STEP)
    kind = raw.get("kind")
    if kind not in KINDS:
        raise at.error("kind", f"unknown kind {kind!r}{suggest(str(kind), KINDS)}")
    if "op" in raw and "ops" in raw:
        raise at.error("ops", "cannot be given together with op")
    operation_kind = "map" if kind == "comap" and "ops" in raw else kind
    specs: list[FunctionSpec] = []
    if "op" in raw:
        inner = {key: value for key, value in raw.items() if key in _OPERATION}
        specs = [read_operation(inner, operation_kind, at, allow)]
    for i, each in enumerate(at.sequence(raw, "ops")):
        inner = dict(at.mapping_in("ops", i, each))
        specs.append(read_operation(inner, operation_kind, at.at("ops", i), allow))
    loop = raw.get("loop")
    if loop is not None and raw.get("op") not in LOOP_PARTS:
        specs = [adapt(spec, kind) for spec in specs]
    params = _read_params(at.mapping(raw, "params"), at.at("params"), ids)
    if kind == "future":
        params.setdefault("filled_by", None)
    if loop is not None:
        params["loop"] = loop
    options = _read_options(at.mapping(raw, "options"), at.at("options"), allow)
    inputs = [
        _read_edge(each, at.at("inputs", i), ids)
        for i, each in enumerate(at.sequence(raw, "inputs"))
    ]
    try:
        node = add_node(
            graph,
            kind,
            specs=tuple(specs),
            options={"name": raw["id"], **options, "uid": raw["id"]},
            inputs=inputs,
            params=params,
            label=_label(raw),
        )
    except SpecError:
        raise
    except GraphError as exc:
        raise at.error("options", str(exc)) from exc
    node.location = None


def _label(raw: Mapping[str, Any]) -> str | None:
    name = str(raw.get("op", ""))
    return name.removeprefix("builtin:") if name.startswith("builtin:") else None


def _read_params(raw: Mapping[str, Any], at: Place, ids: Mapping[str, int]) -> dict[str, Any]:
    params = dict(raw)
    at.known(
        params,
        {
            "type",
            "size",
            "slide",
            "timeout",
            "match",
            "how",
            "window",
            "initial",
            "ports",
            "filled_by",
            "max_items",
            "max_iterations",
            "finite",
        },
    )
    if "ports" in params:
        params["ports"] = tuple(at.sequence(params, "ports"))
    if params.get("filled_by") is not None:
        params["filled_by"] = _read_edge(params["filled_by"], at.at("filled_by"), ids)
    return params


def _read_options(raw: Mapping[str, Any], at: Place, allow: list[str]) -> dict[str, Any]:
    at.known(raw, STEP_OPTIONS - _HIDDEN_OPTIONS)
    options = dict(raw)
    if isinstance(options.get("on_error"), Mapping):
        options["on_error"] = read_operation(
            options["on_error"], "fallback", at.at("on_error"), allow
        )
    if "type" in options:
        options["type"] = read_type(options["type"], at, allow)
    retry = options.get("retry")
    if isinstance(retry, Mapping) and "on" in retry:
        names = retry["on"] if isinstance(retry["on"], list) else [retry["on"]]
        kinds = [_read_exception(name, at.at("retry", "on"), allow) for name in names]
        options["retry"] = {**retry, "on": kinds}
    return options


def _read_exception(name: Any, at: Place, allow: list[str]) -> Any:
    found = getattr(builtins, name, None) if isinstance(name, str) else None
    if found is None and isinstance(name, str) and ":" in name:
        found = resolve(name, at, allow)[0]
    if not (isinstance(found, type) and issubclass(found, Exception)):
        raise at.error("", f"must name exception classes, got {name!r}")
    return found


def _read_edge(raw: Any, at: Place, ids: Mapping[str, int]) -> Edge:
    port = None
    step = raw
    if isinstance(raw, Mapping):
        at.known(raw, {"step", "port"})
        step, port = raw.get("step"), raw.get("port")
    if not isinstance(step, str) or step not in ids:
        raise at.error("", f"no step has the id {step!r}{suggest(str(step), ids)}")
    if port is not None and not isinstance(port, str):
        raise at.error("port", f"must be a string, got {port!r}")
    return Edge(ids[step], port)


def _read_service(
    raw: Any, at: Place, allow: list[str]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    if not isinstance(raw, Mapping):
        raise at.error("", f"must be a mapping, got {raw!r}")
    at.known(raw, {"registered", "op", "args", "kwargs"})
    args = tuple(at.sequence(raw, "args"))
    kwargs = dict(at.mapping(raw, "kwargs"))
    if ("registered" in raw) == ("op" in raw):
        raise at.error("", "must have either 'registered' (a name) or 'op' (module:Class)")
    if "op" in raw:
        return resolve(str(raw["op"]), at, allow)[0], args, kwargs
    from sage.kernel.graph.services import ServiceFactory  # noqa: PLC0415

    return ServiceFactory(str(raw["registered"])), args, kwargs
