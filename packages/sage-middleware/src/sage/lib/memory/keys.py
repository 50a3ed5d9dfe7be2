"""Which session an item belongs to, whose memory it may use, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sage.common.errors import ConfigError
from sage.lib.types import Answer, Document, Evaluation, Prompt, Query, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy

SERVICE = "memory_service"


def service_of(ctx: RuntimeContext, name: str) -> ServiceProxy:
    """The memory service of the job.

    Raises:
        ConfigError: None is registered under that name.
    """
    if not ctx.has_service(name):
        raise ConfigError(
            f"step {ctx.operator!r} needs the service {name!r}, which is not registered: call "
            "env.set_memory(config), or env.register_service(...) with a MemoryService"
        )
    return ctx.service(name)


def metadata_of(item: Any) -> Mapping[str, Any]:
    """What the source knew about an item; the fields of a mapping itself."""
    match item:
        case Query() | Document():
            return item.metadata
        case Retrieved() | Prompt():
            return item.query.metadata
        case Answer():
            return {**item.query.metadata, **item.metadata}
        case Evaluation():
            return metadata_of(item.answer)
        case tuple() if item:
            return metadata_of(item[0])
        case Mapping():
            inner = item.get("metadata")
            return {**item, **(inner if isinstance(inner, Mapping) else {})}
        case _:
            return {}


def name_in(item: Any, ctx: RuntimeContext, field: str | None, fixed: str | None) -> str | None:
    """A session or scope: the fixed one, else the item's metadata field, else the item's key."""
    if fixed is not None:
        return fixed
    found = metadata_of(item).get(field) if field is not None else None
    if found is None and field is not None and isinstance(ctx.key, str | int):
        found = ctx.key
    return None if found is None else str(found)


def origin_of(ctx: RuntimeContext, item: Any, session: str | None, source: str) -> dict[str, Any]:
    """The provenance of what a step writes."""
    turn = metadata_of(item).get("turn")
    return {
        "source": source,
        "session": session,
        "turn": None if turn is None else str(turn),
        "job": ctx.job_id,
        "operator": ctx.operator,
        "record": ctx.record_id,
    }
