"""Hooks: plugins that observe jobs, tasks, checkpoints, model calls and metrics.

Reading order: ``specs`` (what happens, when, where) → ``manager`` (who is told). Imports pluggy:
ask ``sage.common.plugins.has_listeners()`` first. Predecessor: ``sage.common.plugins``; successor:
the runtime.
"""

from sage.common.hooks.manager import HookManager, create_hook_manager
from sage.common.hooks.specs import (
    CallHooks,
    CheckpointHooks,
    JobHooks,
    MetricsHooks,
    TaskHooks,
    hookimpl,
    hookspec,
)

__all__ = [
    "CallHooks",
    "CheckpointHooks",
    "HookManager",
    "JobHooks",
    "MetricsHooks",
    "TaskHooks",
    "create_hook_manager",
    "hookimpl",
    "hookspec",
]
