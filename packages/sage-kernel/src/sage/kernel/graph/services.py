"""Factories of services: a given instance, or a registered name that is imported on first use."""

from __future__ import annotations

import functools
import types
from typing import Any


class GivenService:
    """Factory of a service that was given as an instance."""

    __slots__ = ("instance",)

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def __call__(self) -> Any:
        return self.instance


class ServiceFactory:
    """Factory of a service registered in the entry-point group ``sage.services``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self) -> None:
        """Raise ``PluginError`` when nothing of that name is installed; imports nothing of it."""
        from sage.common.errors import PluginError  # noqa: PLC0415
        from sage.common.plugins import Registry  # noqa: PLC0415

        if self.name not in Registry("sage.services"):
            raise PluginError(
                f"no installed distribution registers the service {self.name!r} in the entry-point "
                "group 'sage.services'; the built-in one is part of isage-middleware",
                service=self.name,
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from sage.common.plugins import Registry  # noqa: PLC0415

        return Registry("sage.services").get(self.name)(*args, **kwargs)


def is_factory(service: Any) -> bool:
    """Whether what was registered makes the service, rather than being it."""
    # A service instance may itself be callable; functions, methods and partials are factories.
    kinds = (
        types.FunctionType,
        types.MethodType,
        types.BuiltinFunctionType,
        functools.partial,
        GivenService,
        ServiceFactory,
    )
    return isinstance(service, kinds)
