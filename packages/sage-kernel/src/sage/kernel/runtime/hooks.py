"""The plugins that listen to this process's jobs; loaded only if there are any."""

from __future__ import annotations

from typing import Any

_managers: list[Any] = []


def hook_manager() -> Any:
    """The process's ``HookManager``, or ``None`` when no distribution registers a listener."""
    if not _managers:
        from sage.common.plugins.presence import has_listeners  # noqa: PLC0415

        manager = None
        if has_listeners():
            from sage.common.hooks import create_hook_manager  # noqa: PLC0415 - imports pluggy

            manager = create_hook_manager()
        _managers.append(manager)
    return _managers[0]
