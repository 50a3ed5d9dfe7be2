"""Keys of keyed operators must be hashable: the check and its error."""

from __future__ import annotations

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError


def check_hashable(ctx: RuntimeContext) -> None:
    """Raise an error that names the step when the current key cannot be hashed.

    Called only after a ``TypeError``, so that the hot path pays nothing; returns when the key is
    fine, and the caller then re-raises what it caught.

    Raises:
        GraphError: The key is unhashable.
    """
    try:
        hash(ctx.key)
    except TypeError as error:
        raise GraphError(
            f"step {ctx.operator!r}: the key {_short(ctx.key)} of type "
            f"{type(ctx.key).__name__!r} is not hashable; let the function given to key_by return "
            "str, bytes, int, float, bool, None or a tuple of these",
            operator=ctx.operator,
            uid=ctx.uid,
        ) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
