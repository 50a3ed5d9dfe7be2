"""Plugins: what installed distributions register under entry points, by group and name.

Reading order: ``groups`` → ``scan`` (metadata) → ``registry`` (names) → ``summaries``; ``presence``
stands aside, for the kernel. Predecessor: ``sage.common.errors``; successors:
``sage.common.hooks``, the graph builder, the command line.

Names are imported on first use: ``has_listeners`` is asked by every job and must not load the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.common.plugins.groups import GROUPS, OPERATOR_GROUPS, group_of, kind_of
    from sage.common.plugins.presence import has_listeners
    from sage.common.plugins.registry import (
        Registry,
        find_operator,
        find_operator_entry,
        load_entry,
        operators,
    )
    from sage.common.plugins.scan import (
        PluginEntry,
        PluginProblem,
        PluginWarning,
        installed,
        refresh,
    )
    from sage.common.plugins.summaries import summary

__all__ = [
    "GROUPS",
    "OPERATOR_GROUPS",
    "PluginEntry",
    "PluginProblem",
    "PluginWarning",
    "Registry",
    "find_operator",
    "find_operator_entry",
    "group_of",
    "has_listeners",
    "installed",
    "kind_of",
    "load_entry",
    "operators",
    "refresh",
    "summary",
]

_HOMES = {
    "GROUPS": "groups",
    "OPERATOR_GROUPS": "groups",
    "group_of": "groups",
    "has_listeners": "presence",
    "kind_of": "groups",
    "PluginEntry": "scan",
    "PluginProblem": "scan",
    "PluginWarning": "scan",
    "installed": "scan",
    "refresh": "scan",
    "summary": "summaries",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'registry')}")
    value = globals()[name] = getattr(module, name)
    return value
