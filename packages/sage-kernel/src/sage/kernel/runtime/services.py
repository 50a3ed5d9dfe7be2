"""The services of one job: started before its tasks, called by name, stopped after them.

Predecessor: ``StreamGraph.services``; successor: ``RuntimeContext.call_service``, which is
``ServiceRegistry.call``. Calls are concurrent: one instance serves the threads of all steps.

Async services: when a method returns an awaitable, a caller in a thread gets its result (it runs on
the job's event loop), and a caller inside ``async def`` gets the awaitable, to await it itself.
A synchronous method called from ``async def`` runs right there and blocks the loop while it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Final

from sage.api.service import BaseService, ServiceContext
from sage.common.errors import ServiceError
from sage.kernel.runtime.service_call import (
    bounded,
    call_with_timeout,
    is_async,
    required_parameters,
    running_loop,
    unknown_name,
)

_MISSING: Final = object()


class ServiceRegistry:
    """Names, instances and life cycle of services.

    Args:
        job_id, job_name, config: Passed on to services derived from ``BaseService``.
        async_runner: Runs a coroutine on the job's event loop from another thread and returns its
            result; needed as soon as a service has an async method.
    """

    def __init__(
        self,
        *,
        job_id: str = "",
        job_name: str = "",
        config: Mapping[str, Any] | None = None,
        async_runner: Callable[[Any], Any] | None = None,
    ) -> None:
        self._job_id = job_id
        self._job_name = job_name
        self._config = config or {}
        self._async_runner = async_runner
        self._targets: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {}
        self._instances: dict[str, Any] = {}
        self._methods: dict[tuple[str, str | None], Callable[..., Any]] = {}
        self._starting: list[str] = []
        self._starter: int | None = None
        self._stopped = False

    def register(
        self,
        name: str,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a service.

        Args:
            name: What steps call it by.
            target: A class or a function that makes the service (called at ``start`` with ``args``
                and ``kwargs``), or the service itself.
            args: Positional arguments for the class or function.
            kwargs: Keyword arguments for it.

        Raises:
            ServiceError: The name is empty or taken, or the services have started.
        """
        if not name:
            raise ServiceError("a service needs a name, got an empty string")
        if name in self._targets:
            raise ServiceError(f"a service {name!r} is registered already", service=name)
        if self._instances or self._stopped:
            raise ServiceError(
                f"service {name!r} was registered after the services had started", service=name
            )
        self._targets[name] = (target, args, dict(kwargs or {}))

    def start(self) -> None:
        """Make and start all, in the order of registration; what one calls meanwhile comes first.

        Raises:
            ServiceError: One failed to start, or they need each other to start. Those already
                started were stopped.
        """
        self._starter = threading.get_ident()
        try:
            for name in self._targets:
                if name not in self._instances:
                    self._start_one(name)
        except BaseException as error:
            try:
                self.stop()
            except ServiceError as second:
                error.add_note(f"while stopping the services after that: {second}")
            raise
        finally:
            self._starter = None

    def stop(self) -> None:
        """Stop all that have started, the last first; every one is tried.

        Raises:
            ServiceError: The first failure; the others are its notes.
        """
        self._stopped = True
        failures: list[ServiceError] = []
        while self._instances:
            name, instance = self._instances.popitem()
            try:
                self._end(instance)
            except Exception as error:  # noqa: BLE001 - the others must be stopped all the same
                failure = ServiceError(
                    f"service {name!r} failed to stop: {type(error).__name__}: {error}",
                    service=name,
                )
                failure.__cause__ = error
                failures.append(failure)
        self._methods.clear()
        if failures:
            for other in failures[1:]:
                failures[0].add_note(str(other))
            raise failures[0]

    def call(
        self,
        name: str,
        *args: Any,
        method: str | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a service.

        Args:
            name: The service.
            *args: Arguments of the method.
            method: Its method; without it ``process``, else ``execute``, else the service itself.
            timeout: Seconds the caller waits. A synchronous method cannot be interrupted: it goes
                on in its thread, and its result is thrown away.
            **kwargs: Keyword arguments of the method.

        Raises:
            ServiceError: No such service or method, or the time is over. What the method itself
                raises comes through as it is, with a note naming service and method.
        """
        function = self._methods.get((name, method))
        if function is None:
            function = self._resolve(name, method)
        shown = method or getattr(function, "__name__", None) or "__call__"
        try:
            if timeout is None:
                result = function(*args, **kwargs)
                if not hasattr(result, "__await__"):
                    return result
                remaining = None
            else:
                end = monotonic() + timeout
                if is_async(function):
                    result = function(*args, **kwargs)
                else:
                    result = call_with_timeout(function, args, kwargs, timeout)
                    if not hasattr(result, "__await__"):
                        return result
                remaining = max(0.0, end - monotonic())
            inside = running_loop() is not None
            if not inside:
                self._need_runner(result, name, shown)
            awaitable = bounded(result, remaining, lambda: _too_late(name, shown, timeout))
            return awaitable if inside else self._runner(awaitable)
        except TimeoutError as error:
            if timeout is None or not getattr(error, "_sage_call_timeout", False):
                _note(error, name, shown)
                raise
            raise _too_late(name, shown, timeout) from None
        except ServiceError:
            raise
        except Exception as error:
            _note(error, name, shown)
            raise

    def get(self, name: str) -> Any:
        """The instance of a service that has started."""
        instance = self._instances.get(name, _MISSING)
        if instance is not _MISSING:
            return instance
        if name not in self._targets:
            raise unknown_name("service", name, self._targets)
        if self._starter == threading.get_ident():
            self._start_one(name)
            return self._instances[name]
        state = "has been stopped" if self._stopped else "has not started yet"
        raise ServiceError(f"service {name!r} {state}", service=name)

    def takes_part(self, name: str) -> bool:
        """Whether what a service has written is rolled back with the checkpoints of the job."""
        return callable(getattr(self._instances.get(name), "roll_back", None))

    def roll_back(self, run: str, checkpoint: int) -> None:
        """Tell the services that take part how far the job goes back, before its tasks run.

        Args:
            run: The run.
            checkpoint: Writes of the run since this checkpoint are taken back; 0: all.
        """
        for name in self._instances:
            if self.takes_part(name):
                self.call(name, run, checkpoint, method="roll_back")

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def _start_one(self, name: str) -> None:
        if name in self._starting:
            cycle = " -> ".join([*self._starting[self._starting.index(name) :], name])
            raise ServiceError(
                f"services need each other to start: {cycle}; call the other one later, from a "
                "method, instead of while starting",
                service=name,
                cycle=cycle,
            )
        self._starting.append(name)
        try:
            self._instances[name] = self._begin(name)
        except ServiceError as error:
            if error.data.get("cycle") or error.data.get("starting"):
                raise
            raise self._start_failure(name, error) from error
        except Exception as error:
            raise self._start_failure(name, error) from error
        finally:
            self._starting.pop()

    def _start_failure(self, name: str, error: Exception) -> ServiceError:
        return ServiceError(
            f"service {name!r} failed to start: {type(error).__name__}: {error}",
            service=name,
            starting=True,
        )

    def _begin(self, name: str) -> Any:
        target, args, kwargs = self._targets[name]
        ctx = ServiceContext(
            name=name,
            job_id=self._job_id,
            job_name=self._job_name,
            config=self._config,
            call_service=self.call,
        )
        if isinstance(target, type) and issubclass(target, BaseService):
            instance: Any = target.__new__(target)
            instance.ctx = ctx
            instance.__init__(*args, **kwargs)
        elif isinstance(target, type) or _is_function(target):
            instance = self._finish(target(*args, **kwargs), name)
        else:
            instance = target
        if isinstance(instance, BaseService):
            instance.ctx = ctx
        if instance is None:
            raise TypeError("its factory returned None instead of a service")
        method = _starter(instance)
        if method is not None:
            needs_context = required_parameters(method) == 1
            self._finish(method(ctx) if needs_context else method(), name)
        return instance

    def _end(self, instance: Any) -> None:
        for candidate in ("stop", "close"):
            method = getattr(instance, candidate, None)
            if callable(method) and required_parameters(method) == 0:
                self._finish(method(), candidate)
                return

    def _finish(self, result: Any, name: str) -> Any:
        """Wait for what a factory, start or stop returned, if it is awaitable."""
        if not hasattr(result, "__await__"):
            return result
        self._need_runner(result, name, "start")
        return self._runner(bounded(result, None, None))

    def _need_runner(self, awaitable: Any, name: str, method: str) -> None:
        if self._async_runner is None:
            if hasattr(awaitable, "close"):
                awaitable.close()
            raise ServiceError(
                f"method {method!r} of service {name!r} is async, but this job has no event loop",
                service=name,
                method=method,
            )

    def _runner(self, awaitable: Any) -> Any:
        assert self._async_runner is not None
        return self._async_runner(awaitable)

    def _resolve(self, name: str, method: str | None) -> Callable[..., Any]:
        instance = self.get(name)
        if method is None:
            for candidate in ("process", "execute"):
                function = getattr(instance, candidate, None)
                if callable(function):
                    break
            else:
                function = instance if callable(instance) else None
            if function is None:
                raise ServiceError(
                    f"service {name!r} has neither process nor execute and cannot be called "
                    f"itself: name a method; it has {_methods_of(instance)}",
                    service=name,
                )
        else:
            function = None if method.startswith("_") else getattr(instance, method, None)
            if not callable(function):
                raise unknown_name(
                    "method", method, _method_names(instance), f" of service {name!r}", service=name
                )
        self._methods[name, method] = function
        return function  # type: ignore[no-any-return]


def _starter(instance: Any) -> Callable[..., Any] | None:
    """``start`` or ``open`` of a service.

    ``open`` of an object that cannot be closed (a ``pathlib.Path``), or that wants other arguments
    than a context, has nothing to do with the life cycle.
    """
    start = getattr(instance, "start", None)
    if callable(start) and _takes_context(start):
        return start  # type: ignore[no-any-return]
    start = getattr(instance, "open", None)
    closable = hasattr(instance, "close") or hasattr(instance, "stop")
    if callable(start) and closable and _takes_context(start):
        return start  # type: ignore[no-any-return]
    return None


def _takes_context(method: Callable[..., Any]) -> bool:
    required = required_parameters(method)
    if required == 1:
        code = getattr(getattr(method, "__func__", method), "__code__", None)
        return code is not None and code.co_varnames[code.co_argcount - 1] in ("ctx", "context")
    return required == 0


def _is_function(target: Any) -> bool:
    from sage.kernel.graph.services import is_factory  # noqa: PLC0415

    return is_factory(target)


def _method_names(instance: Any) -> list[str]:
    return [
        name
        for name in dir(type(instance))
        if not name.startswith("_") and callable(getattr(type(instance), name, None))
    ]


def _methods_of(instance: Any) -> str:
    return ", ".join(_method_names(instance)) or "no public method"


def _too_late(name: str, method: str, timeout: float | None) -> ServiceError:
    return ServiceError(
        f"method {method!r} of service {name!r} did not answer within {timeout:g} s",
        service=name,
        method=method,
        timeout=timeout,
    )


def _note(error: BaseException, name: str, method: str) -> None:
    note = f"raised by method {method!r} of service {name!r}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
