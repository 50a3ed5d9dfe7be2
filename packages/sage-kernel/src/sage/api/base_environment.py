"""What all environments share: declaring sources, services and feedback, and showing the graph.

An environment holds one ``StreamGraph``. Predecessor: the user; successor:
``sage.api.datastream``, then ``sage.kernel.graph``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self, TypeVar, overload

from sage.api.datastream import AnyStep, DataStream
from sage.api.functions import SourceFunction
from sage.common.errors import GraphError
from sage.kernel.graph.builder import add_node, split_options
from sage.kernel.graph.model import StreamGraph
from sage.kernel.graph.services import GivenService, ServiceFactory, is_factory
from sage.kernel.graph.settings import check_settings
from sage.kernel.graph.steps import make_spec

T = TypeVar("T")

MEMORY_SERVICE = "memory_service"


class BaseEnvironment:
    """Declares a pipeline; subclasses say where it runs.

    Args:
        name: Name of the pipeline, shown in logs, metrics and job lists.
        config: Settings of the engine, see ``sage.kernel.graph.settings.SETTINGS``.

    Raises:
        GraphError: The name is empty, or a setting is unknown or has the wrong type.
    """

    def __init__(self, name: str = "sage", config: Mapping[str, Any] | None = None) -> None:
        if not isinstance(name, str) or not name.strip():
            raise GraphError(f"the name of an environment must be a non-empty string, got {name!r}")
        self.stream_graph = StreamGraph(name, check_settings(config, f"environment {name!r}"))
        if "fault_tolerance" in self.config:
            self._check_fault_tolerance(self.config)
        if "limits" in self.config or "budget" in self.config:
            from sage.kernel.scheduling.settings import check_scheduling  # noqa: PLC0415 - attrs

            check_scheduling(self.config)

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.stream_graph.name

    @property
    def config(self) -> dict[str, Any]:
        """The checked settings."""
        return self.stream_graph.config

    # sources

    @overload
    def from_source(
        self, source: type[SourceFunction[T]], /, *args: Any, **options: Any
    ) -> DataStream[T]: ...
    @overload
    def from_source(self, source: SourceFunction[T], /, **options: Any) -> DataStream[T]: ...
    @overload
    def from_source(
        self,
        source: Callable[..., Iterator[T]] | Callable[..., AsyncIterator[T]],
        /,
        *args: Any,
        **options: Any,
    ) -> DataStream[T]: ...
    @overload
    def from_source(
        self, source: AnyStep | Callable[..., Any], /, *args: Any, **options: Any
    ) -> DataStream[Any]: ...
    @overload
    def from_source(self, source: Iterable[T], /, **options: Any) -> DataStream[T]: ...
    def from_source(self, source: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """A stream of what a source gives.

        Args:
            source: Iterable, (async) generator function, ``SourceFunction`` class or instance,
                registered name, or a callable: what it returns is the stream if it is iterable,
                else one item per call until it returns ``StopSignal``.
            args: Configuration of a class, or arguments of a function.
            options: Step options; the other keywords go where ``args`` go.

        Raises:
            GraphError: It is no source, or an option is wrong.
        """
        given, rest = split_options(options)
        spec = make_spec(source, args, rest, "source")
        return DataStream(self, add_node(self.stream_graph, "source", specs=(spec,), options=given))

    def from_batch(self, source: Any, /, *args: Any, **options: Any) -> DataStream[Any]:
        """Like ``from_source`` for data that is known to end, e.g. a data set."""
        stream = self.from_source(source, *args, **options)
        stream._node.params["finite"] = True
        return stream

    def from_collection(self, items: Iterable[T], /, **options: Any) -> DataStream[T]:
        """The items of a collection, in its order.

        Raises:
            GraphError: It is not iterable, or is one string, bytes or mapping.
        """
        if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
            raise GraphError(
                "from_collection takes a list, tuple, range or another iterable of items, got "
                f"{type(items).__name__}; put a single item into a list"
            )
        given, rest = split_options(options)
        spec = make_spec(items, (), rest, "source")
        node = add_node(
            self.stream_graph,
            "source",
            specs=(spec,),
            options=given,
            params={"finite": True},
            label="collection",
        )
        return DataStream(self, node)

    def from_future(
        self, name: str | None = None, max_items: int | None = None, **options: Any
    ) -> DataStream[Any]:
        """A stream that is filled later, with ``fill_future``: a feedback edge.

        Args:
            name: Shown name.
            max_items: Items that may come back at most, over the whole job; more are an error.
            options: Step options, e.g. ``type`` for what comes back.
        """
        if max_items is not None and (
            isinstance(max_items, bool) or not isinstance(max_items, int) or max_items < 1
        ):
            raise GraphError(f"from_future: max_items must be an int >= 1, got {max_items!r}")
        if name is not None:
            options["name"] = name
        node = add_node(
            self.stream_graph,
            "future",
            options=options,
            params={"filled_by": None, "max_items": max_items},
        )
        return DataStream(self, node)

    def fill_future(self, future: DataStream[Any], stream: DataStream[Any]) -> None:
        """Let the items of ``stream`` come out of ``future``.

        Raises:
            GraphError: ``future`` was not made by ``from_future`` of this environment, or is
                filled already.
        """
        for each, what in ((future, "future"), (stream, "stream")):
            if not isinstance(each, DataStream):
                raise GraphError(f"fill_future: {what} must be a stream, got {each!r}")
            if each.environment is not self:
                raise GraphError(
                    f"fill_future: {each.name!r} belongs to environment "
                    f"{each.environment.name!r}, not to {self.name!r}"
                )
        node = future._node
        if node.kind != "future":
            raise GraphError(
                f"fill_future: {node.name!r} is a {node.kind} step; only a stream made by "
                "from_future can be filled"
            )
        if node.params.get("filled_by") is not None:
            by = self.stream_graph.nodes[node.params["filled_by"].source].name
            raise GraphError(
                f"fill_future: {node.name!r} is filled by {by!r} already; to feed two streams "
                "back, union them first"
            )
        if stream._loop is not None:
            raise GraphError(
                f"fill_future: {stream.name!r} is inside of an iterate body and cannot leave it"
            )
        node.params["filled_by"] = stream.edge

    # services

    def register_service(self, name: str, service: Any, *args: Any, **kwargs: Any) -> Self:
        """Make a service known to the steps, which reach it with ``self.call_service[name]``.

        It is made once per job before the first task starts and closed after the last one ended.

        Args:
            name: How steps call it.
            service: A class or factory, called with ``args`` and ``kwargs``; or an instance, which
                is then shared and stays yours to close.

        Raises:
            GraphError: The name is empty or taken.
        """
        if not isinstance(name, str) or not name.strip():
            raise GraphError(f"the name of a service must be a non-empty string, got {name!r}")
        if name in self.stream_graph.services:
            raise GraphError(f"a service {name!r} is registered already in {self.name!r}")
        if isinstance(service, type) or is_factory(service):
            self.stream_graph.services[name] = (service, args, kwargs)
            return self
        if args or kwargs:
            raise GraphError(
                f"service {name!r}: arguments are for a class or factory, got the instance "
                f"{type(service).__name__}"
            )
        self.stream_graph.services[name] = (GivenService(service), (), {})
        return self

    def set_memory(self, config: Any = None) -> Self:
        """Register the built-in memory service as ``"memory_service"``.

        Args:
            config: Its configuration, e.g. ``{"data_dir": ...}``; ``None`` for the defaults.

        Raises:
            PluginError: No installed distribution brings a memory service.
        """
        factory = ServiceFactory(MEMORY_SERVICE)
        factory.check()
        return self.register_service(
            MEMORY_SERVICE, factory, *(() if config is None else (config,))
        )

    # fault tolerance

    def enable_checkpoints(
        self, interval: float | None = 10.0, *, store: Any = None, **settings: Any
    ) -> Self:
        """Make the runs of this pipeline survive failures; the same as the key ``fault_tolerance``.

        Submitting the pipeline again goes on with a run that did not finish.

        Args:
            interval: Seconds between two checkpoints, ``None`` for none by time.
            store: Folder of the runs; default: in SAGE's state folder.
            settings: More keys of ``sage.kernel.checkpoint.settings.FaultTolerance``, such as
                ``every``, ``resume``, ``keep``, ``durability`` and ``restart``.

        Raises:
            ConfigError: A key is unknown or a value is wrong.
        """
        known = self.config.get("fault_tolerance")
        given = {**(known if isinstance(known, dict) else {}), "interval": interval, **settings}
        if store is not None:
            given["store"] = str(store)
        self._check_fault_tolerance({"fault_tolerance": given})
        self.config["fault_tolerance"] = given
        return self

    def _check_fault_tolerance(self, config: Mapping[str, Any]) -> None:
        from sage.kernel.checkpoint.settings import fault_tolerance  # noqa: PLC0415 - attrs

        fault_tolerance(config)

    # views

    @overload
    def graph(self, format: Literal["dict"] = "dict") -> dict[str, Any]: ...
    @overload
    def graph(self, format: Literal["mermaid", "text"]) -> str: ...
    def graph(self, format: str = "dict") -> Any:  # noqa: A002 - the word users write
        """The logical graph: a ``dict`` of plain values, ``mermaid`` or ``text``."""
        from sage.kernel.graph import render  # noqa: PLC0415 - only when shown

        views = {"dict": render.to_dict, "mermaid": render.to_mermaid, "text": render.to_text}
        if format not in views:
            raise GraphError(f"graph: format must be one of {', '.join(views)}, got {format!r}")
        view: Callable[[StreamGraph], Any] = views[format]
        return view(self.stream_graph)

    def to_mermaid(self) -> str:
        """The logical graph as a Mermaid flowchart."""
        return self.graph(format="mermaid")

    def check(self) -> None:
        """Validate without running: the graph, its types, and the configuration of its steps.

        Raises:
            GraphError: Lists everything that is wrong.
        """
        from sage.kernel.graph.configs import config_problems  # noqa: PLC0415
        from sage.kernel.graph.validate import find_problems, refuse  # noqa: PLC0415

        graph = self.stream_graph
        refuse(graph, [*find_problems(graph), *config_problems(graph)])

    def explain(self) -> str:
        """The logical plan, the physical plan and why each decision was made.

        Raises:
            GraphError: The graph is not valid.
        """
        from sage.kernel.compiler.explain import explain_plan  # noqa: PLC0415

        self.check()
        return f"{self.graph(format='text')}\n\n{explain_plan(self.stream_graph)}"

    def to_spec(self) -> dict[str, Any]:
        """The pipeline as data (``GraphSpec``), to be written as YAML or JSON.

        Raises:
            GraphError: A step is a lambda, a local function or an instance.
        """
        from sage.kernel.graph.spec import to_spec  # noqa: PLC0415

        return to_spec(self.stream_graph)

    @classmethod
    def from_spec(
        cls,
        spec: Any,
        *,
        allow: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Self:
        """An environment with the pipeline of a spec.

        Args:
            spec: A mapping, YAML or JSON text, or the path of a file.
            allow: Modules that ``module:Class`` steps may come from, e.g. ``["mypkg.*"]``;
                registered operators are always allowed. No other code runs.
            config: Settings that override those of the spec.
            name: What messages call the spec, when it is a mapping that was read from a file.

        Raises:
            GraphError: The spec is wrong; names the file and the key.
        """
        from sage.kernel.graph.spec import load_spec  # noqa: PLC0415

        graph = load_spec(spec, allow=allow, name=name)
        env = cls(graph.name, {**graph.config, **(config or {})})
        graph.config = env.stream_graph.config
        env.stream_graph = graph
        return env

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.stream_graph.nodes)} steps)"
