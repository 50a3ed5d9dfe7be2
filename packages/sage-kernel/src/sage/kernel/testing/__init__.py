"""For the tests of runtimes, operators and plugins: run flows, compare, look for leaks.

``FlowRunner`` runs a flow and gathers its results; ``SETTINGS`` are the configurations under which
every flow must give the same; ``leftovers`` lists threads and processes that a job left behind;
``RuntimeConformance`` is the suite that every runtime passes; ``Plan`` describes a pipeline as data
and evaluates it in plain Python, as the reference. Needs ``pytest`` for the suite only.
"""

from __future__ import annotations

from sage.kernel.testing.conformance import RuntimeConformance
from sage.kernel.testing.plans import Plan
from sage.kernel.testing.runner import SETTINGS, FlowRun, FlowRunner, leftovers

__all__ = [
    "SETTINGS",
    "FlowRun",
    "FlowRunner",
    "Plan",
    "RuntimeConformance",
    "leftovers",
]
