"""Find the listeners and tell them what happened.

Predecessor: ``sage.common.hooks.specs``; successor: the runtime, which makes one ``HookManager``
per job when ``sage.common.plugins.has_listeners()`` says that there is anybody to tell.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from typing import Any

import pluggy

from sage.common.errors import PluginError
from sage.common.hooks.specs import PROJECT, SPECS
from sage.common.plugins.groups import HOOK_GROUP
from sage.common.plugins.registry import Registry
from sage.common.plugins.scan import PluginWarning

_logger = logging.getLogger(__name__)


class HookManager:
    """The listeners of one process, and the way to call them.

    Made by ``create_hook_manager``. Safe to call from any thread once the listeners are registered.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        for spec in SPECS:
            self._manager.add_hookspecs(spec)
        self._owners: dict[str, str] = {}

    def register(self, plugin: Any, name: str, distribution: str = "") -> None:
        """Add a listener: a module, an object or a class (of which one instance is made).

        Args:
            plugin: What has the ``@hookimpl`` functions.
            name: Its unique name.
            distribution: Who provides it, for messages.

        Raises:
            PluginError: It has a hook or an argument that does not exist, or wraps other hooks.
        """
        owner = distribution or "this program"
        try:
            listener = plugin() if inspect.isclass(plugin) else plugin
            self._manager.register(listener, name)
        except Exception as exc:
            raise PluginError(
                f"the listener {name!r} of {owner!r} cannot be registered: "
                f"{type(exc).__name__}: {exc}",
                distribution=distribution,
                name=name,
            ) from exc
        self._owners[name] = owner
        for caller in self._manager.get_hookcallers(listener) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is not listener:
                    continue
                problem = ""
                if caller.spec is None:
                    known = ", ".join(self.events())
                    problem = f"there is no hook {caller.name!r}; known: {known}"
                elif impl.hookwrapper or impl.wrapper:
                    problem = f"{caller.name!r} is a wrapper, and hooks here only observe"
                if problem:
                    self._manager.unregister(listener)
                    raise PluginError(
                        f"the listener {name!r} of {owner!r} cannot be registered: {problem}",
                        distribution=distribution,
                        name=name,
                    )

    def events(self) -> list[str]:
        """Names of all hooks, sorted."""
        return sorted(name for spec in SPECS for name in vars(spec) if not name.startswith("_"))

    def listening(self, event: str) -> bool:
        """Whether anybody listens to ``event``: ask before gathering costly facts."""
        return bool(getattr(self._manager.hook, event).get_hookimpls())

    def notify(self, event: str, **facts: Any) -> None:
        """Tell every listener of ``event``; what one raises is logged and stops nobody.

        Args:
            event: Name of a hook of ``sage.common.hooks.specs``.
            facts: All arguments of that hook.
        """
        caller = getattr(self._manager.hook, event)
        for impl in reversed(caller.get_hookimpls()):
            try:
                impl.function(*(facts[name] for name in impl.argnames))
            except Exception:
                _logger.exception(
                    "the listener %r of the distribution %r failed in %s; the job goes on",
                    impl.plugin_name,
                    self._owners.get(impl.plugin_name, "?"),
                    event,
                )


def create_hook_manager() -> HookManager:
    """Make a manager with every listener that a distribution registers under ``sage.plugins``.

    One that is broken is named with its distribution in a ``PluginWarning`` and left out.
    """
    manager = HookManager()
    for entry, plugin in Registry(HOOK_GROUP).load_all():
        try:
            manager.register(plugin, entry.name, entry.distribution)
        except PluginError as exc:
            warnings.warn(f"{exc} (skipped)", PluginWarning, stacklevel=2)
    return manager
