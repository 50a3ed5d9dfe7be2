"""How a function gets into a worker: by reference if the worker can import it, else by value.

Code of the user's script (``__main__``), lambdas and closures travel with their definition, so that
a script needs no ``if __name__ == "__main__"`` guard.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.runtime.process.codec import Codec

_registering = threading.Lock()


def ship(spec: FunctionSpec, operator: str, extra: dict[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    """Pickle a function with what its worker needs to know.

    Args:
        spec: The function of the step.
        operator: Name of the step, for messages.
        extra: Further values for the worker.

    Returns:
        The bytes, and the modules that are pickled by value.

    Raises:
        GraphError: The function holds something that cannot be sent.
    """
    import cloudpickle  # noqa: PLC0415 - only steps in processes need it

    by_value = tuple(name for name in sorted(_modules(spec)) if not importable(name))
    with _registering:
        known = cloudpickle.list_registry_pickle_by_value()
        for name in by_value:
            if name not in known:
                cloudpickle.register_pickle_by_value(sys.modules[name])
    function = (spec.target, spec.args, spec.kwargs, spec.is_class)
    try:
        return cloudpickle.dumps((function, by_value, extra), 5), by_value
    except Exception as error:
        raise GraphError(
            f"step {operator!r} has executor='process', but its function cannot be sent to a "
            f"worker process: {type(error).__name__}: {error}; give the class and its config "
            "instead of an instance, and open files, locks and connections in open(ctx)",
            operator=operator,
        ) from error


def codec_for(by_value: tuple[str, ...]) -> Codec:
    """The codec that both ends of a pool use."""
    return Codec(by_value)


def _modules(spec: FunctionSpec) -> set[str]:
    """Modules of the function and of its arguments."""
    found: set[str] = set()
    queue: list[Any] = [spec.target, *spec.args, *spec.kwargs.values()]
    while queue:
        value = queue.pop()
        if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
            queue += [value.func, *value.args, *value.keywords.values()]
            continue
        value = getattr(value, "__func__", value)
        owner = value if hasattr(value, "__qualname__") else type(value)
        classes = owner.__mro__ if isinstance(owner, type) else (owner,)
        found.update(getattr(kind, "__module__", None) or "builtins" for kind in classes)
    return {name for name in found if name in sys.modules and name != "__main__"}


def importable(name: str, search: list[str] | None = None) -> bool:
    """Whether a fresh interpreter finds the same module.

    Args:
        name: A module that is loaded here.
        search: Its ``sys.path``; ``None``: the same.
    """
    module = sys.modules[name]
    origin = getattr(module, "__file__", None)
    if origin is None:  # built-in, frozen
        return True
    path: Any = search
    spec = None
    prefix = ""
    for part in name.split("."):
        prefix = f"{prefix}.{part}" if prefix else part
        spec = next(
            (
                found
                for finder in sys.meta_path
                if (found := finder.find_spec(prefix, path, None)) is not None
            ),
            None,
        )
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin == origin
