"""Operators the engine drives itself: windows, batches, joins, keyed processing, reductions.

Predecessor: ``sage.kernel.compiler``; successor: ``sage.kernel.state``. Pure: time comes in as a
clock, and nothing here starts a thread. ``base`` holds the contract, ``factory`` makes them.
"""

from sage.kernel.operators.base import StatefulOperator
from sage.kernel.operators.emit import DROPPED
from sage.kernel.operators.factory import STATEFUL_KINDS, make_operator
from sage.kernel.operators.timers import Timers

__all__ = ["DROPPED", "STATEFUL_KINDS", "StatefulOperator", "Timers", "make_operator"]
