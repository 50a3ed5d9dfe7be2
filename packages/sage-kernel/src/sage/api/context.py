"""What a running step can reach: its identity, services, keyed state and timers.

Predecessor: ``sage.api.functions``. The runtime makes one ``RuntimeContext`` per subtask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    import random
    import uuid

    from sage.api.calls import CallInfo
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


class OperatorState:
    """One value of a subtask; see ``RuntimeContext.operator_state``.

    Attributes:
        value: The value; assign a new one, or change it in place.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"OperatorState({self.value!r})"


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
        epoch: Number of the last checkpoint the step has passed, 0 before the first: what it writes
            from now on is no part of that checkpoint. ``None`` without fault tolerance.
        config: The environment's configuration.
        restored: Whether the run goes on from a checkpoint: ``open`` then must not begin anew what
            ``restore`` will bring back, such as an output file.
        takes_part: Whether the step writes to what is rolled back with the checkpoints; a
            checkpoint then waits for its calls in flight.
        uses_state: Whether the step has asked for state.
    """

    __slots__ = (
        "_calls",
        "_counters",
        "_operator_state",
        "_record_id",
        "_restored_state",
        "_services",
        "_state",
        "_stopping",
        "_timers",
        "config",
        "epoch",
        "job_id",
        "job_name",
        "key",
        "operator",
        "parallelism",
        "restored",
        "subtask",
        "takes_part",
        "uid",
        "uses_state",
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
        self._calls: Any = None
        self.uses_state = False
        self.restored = False
        self.takes_part = False
        self.epoch: int | None = None
        self._operator_state: dict[str, OperatorState] = {}
        self._restored_state: dict[str, Any] = {}

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
    def record_ids(self) -> list[str]:
        """Ids of the records in hand: the batch in ``execute_batch``, else the current one."""
        if self._calls is None:
            record = self.record_id
            return [] if record is None else [record]
        return self._calls.record_ids()  # type: ignore[no-any-return]

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        call_info: CallInfo | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make a call that has an effect or costs something: ``function(*args, **kwargs)``.

        With a ledger (``env.enable_checkpoints``) the call is recorded before this returns, and
        the same call is not made again after a crash, a restart or in a replay: its recorded
        response is returned. The same call is: this run, record, step, code of the step, request,
        and the how-manieth equal request of the record. Without a ledger it is a plain call.

        Args:
            function: What makes the call. For ``async def`` functions an awaitable is returned.
            args: Its arguments; part of the request, so they must be plain values or records
                (attrs, dataclasses). Bind a client as ``client.method``, not as an argument.
            call_info: What kind of call it is, its model, how to read its usage.
            kwargs: As ``args``.

        Raises:
            LedgerMissError: In a replay, the call was not recorded.
            StateEncodingError: The request or the response cannot be stored.
            LedgerError: The ledger cannot be written, or the call belongs to no record.
        """
        if self._calls is None:
            return function(*args, **kwargs)
        return self._calls.call(function, args, kwargs, call_info)

    def call_many(
        self,
        function: Callable[[list[Any]], Any],
        requests: Sequence[Any],
        /,
        *,
        call_info: CallInfo | None = None,
        records: Sequence[int] | None = None,
    ) -> Any:
        """Make one call for several requests, as ``execute_batch`` does: each is recorded.

        Only requests that have no recorded response are given to ``function``; what it used is
        shared out by the length of the requests.

        Args:
            function: Gets the requests to make, returns as many responses in their order.
            requests: One per record in hand, or as many as ``records``.
            call_info: As for ``call``; its ``request`` is put beside each request, and ``usage``
                reads the list that ``function`` returned.
            records: Position of each request's record in the batch; default: one each, or all for
                the one record in hand.

        Returns:
            The responses, in order; an awaitable of them for an ``async def`` function.
        """
        if self._calls is None:
            return function(list(requests))
        return self._calls.call_many(function, requests, call_info, records)

    def now(self) -> float:
        """Unix seconds; recorded, so that a record sees the same again after a crash or replay."""
        if self._calls is None:
            import time  # noqa: PLC0415

            return time.time()
        return self._calls.now()  # type: ignore[no-any-return]

    def random(self) -> random.Random:
        """A generator of random numbers; with a ledger its seed is that of the run and record."""
        if self._calls is None:
            from random import Random  # noqa: PLC0415 - 10 ms

            return Random()  # noqa: S311 - not for secrets
        return self._calls.random()  # type: ignore[no-any-return]

    def uuid(self) -> uuid.UUID:
        """A random UUID; with a ledger the same again for the record after a crash or replay."""
        if self._calls is None:
            import uuid  # noqa: PLC0415

            return uuid.uuid4()
        return self._calls.uuid()  # type: ignore[no-any-return]

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

    def operator_state(self, name: str, default: Any = None) -> OperatorState:
        """State of this subtask as a whole, saved with the checkpoints of the job.

        Args:
            name: Its name within the step; the same object every time.
            default: First value, or a function that makes it. After a restart the saved value.
        """
        self.uses_state = True
        held = self._operator_state.get(name)
        if held is None:
            if name in self._restored_state:
                first = self._restored_state[name]
            else:
                first = default() if callable(default) else default
            held = self._operator_state[name] = OperatorState(first)
        return held

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
        self.uses_state = True
        if self._state is None:
            from sage.common.errors import GraphError  # noqa: PLC0415

            raise GraphError(
                f"step {self.operator!r} uses keyed state, but its input is not keyed: "
                "put .key_by(...) before it"
            )
        return self._state
