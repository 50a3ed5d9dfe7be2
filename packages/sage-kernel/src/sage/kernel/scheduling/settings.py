"""The keys ``limits`` and ``budget`` of an environment's configuration.

Predecessor: ``sage.kernel.graph.settings``; successor: ``sage.kernel.runtime.local.submit``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sage.kernel.scheduling.budget import read_budget
from sage.kernel.scheduling.job_budget import JobBudget
from sage.kernel.scheduling.limits import read_limits
from sage.kernel.scheduling.registry import process_limits


def check_scheduling(config: Mapping[str, Any]) -> None:
    """Check both keys.

    Raises:
        ConfigError: Names what is wrong.
    """
    if "limits" in config:
        read_limits(config["limits"])
    if "budget" in config:
        read_budget(config["budget"])


def apply_limits(config: Mapping[str, Any]) -> None:
    """Add the limits of a configuration to those of the process, which all its jobs share."""
    if "limits" in config:
        process_limits().configure(read_limits(config["limits"]))


def make_budget(
    config: Mapping[str, Any],
    exhausted: Callable[[dict[str, Any]], object],
    price: Callable[..., Any],
) -> JobBudget | None:
    """The budget of a job, where its configuration has one; arguments as for ``JobBudget``."""
    if "budget" not in config:
        return None
    return JobBudget(read_budget(config["budget"]), exhausted, price)
