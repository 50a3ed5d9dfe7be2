"""Configurations of the steps, checked without running them.

A step is a class with a light constructor, which structures its configuration and does no I/O: the
check makes one of each that declares a ``Config`` and drops it. ``submit`` makes them anyway, so
only ``env.check()``, ``explain`` and the commands ask here.

Predecessor: ``sage.kernel.graph.validate``.
"""

from __future__ import annotations

from collections.abc import Iterator

from sage.api.functions import BaseFunction
from sage.common.errors import ConfigError, GraphError
from sage.kernel.graph.loops import unwrapped
from sage.kernel.graph.model import FunctionSpec, StreamGraph
from sage.kernel.graph.validate import at


def config_problems(graph: StreamGraph) -> Iterator[str]:
    """One sentence per step whose configuration is wrong."""
    for node in graph.nodes.values():
        policy = node.options.on_error
        fallback = (policy,) if isinstance(policy, FunctionSpec) else ()
        for given in (*node.specs, *fallback):
            spec = unwrapped(given)
            target = spec.target
            if not (isinstance(target, type) and issubclass(target, BaseFunction)):
                continue
            if target.Config is None:
                continue
            try:
                target(*spec.args, **spec.kwargs)
            except (ConfigError, GraphError) as exc:
                yield f"{at(node)}: {'; '.join(str(exc).splitlines())}"
