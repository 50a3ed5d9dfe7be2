"""Operators the engine drives itself: windows, batches, joins, keyed processing, reductions.

Predecessor: ``sage.kernel.compiler``; successor: ``sage.kernel.state``. Pure: time comes in as a
clock, and nothing here starts a thread. ``base`` holds the contract, ``factory`` makes them. Names
are loaded on first use: most jobs have no such operator, and each start would pay 4 ms for them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as checkers understand it
if TYPE_CHECKING:
    from typing import Any

    from sage.kernel.operators.base import StatefulOperator
    from sage.kernel.operators.emit import DROPPED
    from sage.kernel.operators.factory import STATEFUL_KINDS, make_operator
    from sage.kernel.operators.timers import Timers

_HOMES = {
    "DROPPED": "emit",
    "STATEFUL_KINDS": "factory",
    "StatefulOperator": "base",
    "Timers": "timers",
    "make_operator": "factory",
}

__all__ = ["DROPPED", "STATEFUL_KINDS", "StatefulOperator", "Timers", "make_operator"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
