"""What a running step can reach: its identity, services, keyed state and timers.

Predecessor: ``sage.api.functions``. The runtime makes one ``RuntimeContext`` per subtask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

    from sage.api.state import ListState, MapState, ValueState


class ServiceProxy:
    """Attribute access to a service: ``ctx.service("memory").retrieve("q", top_k=3)``."""

    __slots__ = ("_call", "_name")

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self._name = name
        self._call = call

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        call, name = self._call, self._name

        def invoke(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
            return call(name, *args, method=method, timeout=timeout, **kwargs)

        return invoke

    def __repr__(self) -> str:
        return f"ServiceProxy({self._name!r})"


class ServiceCaller:
    """``self.call_service``: callable and subscriptable."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(
        self,
        name: str,
        *args: Any,
        method: str | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call ``method`` of the service (default: ``process``, else the service itself)."""
        return self._call(name, *args, method=method, timeout=timeout, **kwargs)

    def __getitem__(self, name: str) -> ServiceProxy:
        return ServiceProxy(name, self._call)


class RuntimeContext:
    """Identity and facilities of one subtask. Not shared between threads.

    Attributes:
        job_id: Id of the run.
        job_name: Name of the environment.
        operator: Name of the step.
        uid: Stable identity of the step's state.
        subtask: Index of this subtask, ``0 <= subtask < parallelism``.
        parallelism: Number of subtasks of the step.
        key: Key of the current item after ``key_by``, else ``None``.
        config: The environment's configuration.
    """

    __slots__ = (
        "_counters",
        "_record_id",
        "_services",
        "_state",
        "_stopping",
        "_timers",
        "config",
        "job_id",
        "job_name",
        "key",
        "operator",
        "parallelism",
        "subtask",
        "uid",
    )

    def __init__(
        self,
        *,
        job_id: str,
        job_name: str,
        operator: str,
        uid: str,
        subtask: int = 0,
        parallelism: int = 1,
        config: Mapping[str, Any] | None = None,
        call_service: Callable[..., Any] | None = None,
        state: Any = None,
        timers: Any = None,
        stopping: Callable[[], bool] | None = None,
        record_id: Callable[[], str | None] | None = None,
    ) -> None:
        self.job_id = job_id
        self.job_name = job_name
        self.operator = operator
        self.uid = uid
        self.subtask = subtask
        self.parallelism = parallelism
        self.config: Mapping[str, Any] = config or {}
        self.key: Any = None
        self._services = call_service
        self._state = state
        self._timers = timers
        self._stopping = stopping
        self._record_id = record_id
        self._counters: dict[str, float] = {}

    @property
    def call_service(self) -> ServiceCaller:
        """The three call styles share this one way in."""
        if self._services is None:
            from sage.common.errors import ServiceError  # noqa: PLC0415

            raise ServiceError(
                f"step {self.operator!r} calls a service, but none is registered: call "
                "env.register_service(name, ...) or env.set_memory() before env.submit()"
            )
        return ServiceCaller(self._services)

    def service(self, name: str) -> ServiceProxy:
        """A proxy whose methods call the registered service ``name``."""
        return self.call_service[name]

    def has_service(self, name: str) -> bool:
        """Whether a service of that name is registered."""
        known = getattr(self._services, "__self__", None)
        return known is not None and name in known

    @property
    def stopping(self) -> bool:
        """True once the job is being canceled: long loops should return."""
        return self._stopping is not None and self._stopping()

    @property
    def record_id(self) -> str | None:
        """Id of the current record (``source-uid:offset`` and expansions), made on demand."""
        return None if self._record_id is None else self._record_id()

    @property
    def logger(self) -> logging.Logger:
        """Logger named after job and step."""
        import logging  # noqa: PLC0415

        return logging.getLogger(f"sage.job.{self.job_name}.{self.operator}")

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a custom counter, shown in ``job.metrics()`` under the step."""
        self._counters[name] = self._counters.get(name, 0) + amount

    def value_state(
        self, name: str, default: Any = None, *, ttl: float | None = None
    ) -> ValueState:
        """One value per key; ``default``: a value or zero-argument factory, ``ttl``: seconds."""
        return self._state_backend().value(name, default, ttl)  # type: ignore[no-any-return]

    def list_state(self, name: str, *, ttl: float | None = None) -> ListState:
        """A list per key."""
        return self._state_backend().list(name, ttl)  # type: ignore[no-any-return]

    def map_state(self, name: str, *, ttl: float | None = None) -> MapState:
        """A mapping per key."""
        return self._state_backend().map(name, ttl)  # type: ignore[no-any-return]

    def register_timer(self, at: float) -> None:
        """Call ``on_timer`` for the current key at ``at`` (unix seconds, processing time)."""
        if self._timers is None:
            from sage.common.errors import GraphError  # noqa: PLC0415

            raise GraphError(
                f"step {self.operator!r} registers a timer, but only .process(...) after key_by "
                "has timers"
            )
        self._timers.register(self.key, at)

    def register_timer_in(self, seconds: float) -> None:
        """Like ``register_timer``, ``seconds`` from now."""
        import time  # noqa: PLC0415

        self.register_timer(time.time() + seconds)

    def _state_backend(self) -> Any:
        if self._state is None:
            from sage.common.errors import GraphError  # noqa: PLC0415

            raise GraphError(
                f"step {self.operator!r} uses keyed state, but its input is not keyed: "
                "put .key_by(...) before it"
            )
        return self._state
