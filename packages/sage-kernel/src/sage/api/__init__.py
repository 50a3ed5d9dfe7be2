"""Public API of SAGE: environments, streams, the contracts of steps and services, retry policies.

Names are loaded on first use, so that importing one contract does not pay for the others.
Predecessor: ``sage.common``; successor: ``sage.kernel.graph``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as checkers understand it; importing typing would cost 10 ms
if TYPE_CHECKING:
    from typing import Any

    from sage.api.base_environment import BaseEnvironment
    from sage.api.connected import ConnectedStreams, RoutedStream
    from sage.api.context import RuntimeContext
    from sage.api.datastream import DataStream, KeyedStream, SinkHandle
    from sage.api.functions import (
        BaseFunction,
        BatchFunction,
        CoMapFunction,
        FilterFunction,
        FlatMapFunction,
        JoinFunction,
        KeyByFunction,
        MapFunction,
        ProcessFunction,
        SinkFunction,
        SourceFunction,
        StopSignal,
    )
    from sage.api.local_environment import LocalEnvironment
    from sage.api.remote_environment import RemoteEnvironment, RemoteJob
    from sage.api.retry import RetryPolicy
    from sage.api.service import BaseService

_HOMES = {
    "BaseEnvironment": "base_environment",
    "BaseFunction": "functions",
    "BaseService": "service",
    "BatchFunction": "functions",
    "CoMapFunction": "functions",
    "ConnectedStreams": "connected",
    "DataStream": "datastream",
    "FilterFunction": "functions",
    "FlatMapFunction": "functions",
    "JoinFunction": "functions",
    "KeyByFunction": "functions",
    "KeyedStream": "datastream",
    "LocalEnvironment": "local_environment",
    "MapFunction": "functions",
    "ProcessFunction": "functions",
    "RemoteEnvironment": "remote_environment",
    "RemoteJob": "remote_environment",
    "RetryPolicy": "retry",
    "RoutedStream": "connected",
    "RuntimeContext": "context",
    "SinkFunction": "functions",
    "SinkHandle": "datastream",
    "SourceFunction": "functions",
    "StopSignal": "functions",
}

__all__ = [
    "BaseEnvironment",
    "BaseFunction",
    "BaseService",
    "BatchFunction",
    "CoMapFunction",
    "ConnectedStreams",
    "DataStream",
    "FilterFunction",
    "FlatMapFunction",
    "JoinFunction",
    "KeyByFunction",
    "KeyedStream",
    "LocalEnvironment",
    "MapFunction",
    "ProcessFunction",
    "RemoteEnvironment",
    "RemoteJob",
    "RetryPolicy",
    "RoutedStream",
    "RuntimeContext",
    "SinkFunction",
    "SinkHandle",
    "SourceFunction",
    "StopSignal",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
