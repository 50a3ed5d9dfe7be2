"""Scan engines by name."""

from __future__ import annotations

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.engines import SignBitEngine, TurbovecEngine
from sage.middleware.services.memory.vdb.ivf import IvfEngine

EngineClass = type[TurbovecEngine] | type[SignBitEngine] | type[IvfEngine]
ENGINES: dict[str, EngineClass] = {
    "turbovec": TurbovecEngine,
    "numpy": SignBitEngine,
    "ivf": IvfEngine,
}


def engine_class(name: str) -> EngineClass:
    """The engine of that name.

    Raises:
        InvalidInputError: There is none.
    """
    try:
        return ENGINES[name]
    except KeyError:
        raise InvalidInputError(
            f"engine is {name!r}; expected one of {', '.join(ENGINES)}"
        ) from None
