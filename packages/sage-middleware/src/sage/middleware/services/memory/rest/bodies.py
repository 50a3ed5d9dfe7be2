"""What requests and answers hold: the shapes of the OpenAPI document.

Standard dataclasses, because FastAPI reads these and not attrs classes. Unknown fields are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


class _Body:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(kw_only=True)
class CollectionBody(_Body):
    """A collection to make. ``embedding_model``: a name, or a name with numeric settings."""

    name: str
    backend_type: str = "VDB"
    description: str = ""
    embedding_model: str | dict[str, Any] | None = None
    dim: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class ChangeBody(_Body):
    """What to change about a collection; absent: stays."""

    new_name: str | None = None
    description: str | None = None


@dataclass(kw_only=True)
class RowsBody(_Body):
    """Rows to add, all or none. ``upsert`` replaces rows whose id is there."""

    texts: list[str]
    metadatas: list[dict[str, Any] | None] | None = None
    ids: list[str] | None = None
    vectors: list[list[float]] | None = None
    upsert: bool = False


@dataclass(kw_only=True)
class UpdateBody(_Body):
    """Changes of rows, all or none; what is absent stays."""

    ids: list[str]
    texts: list[str] | None = None
    metadatas: list[dict[str, Any] | None] | None = None
    vectors: list[list[float]] | None = None
    merge: bool = False


@dataclass(kw_only=True)
class IdsBody(_Body):
    """Rows by id."""

    ids: list[str]
    with_vectors: bool = False


@dataclass(kw_only=True)
class ChosenBody(_Body):
    """Rows by id or by filter: one of them."""

    ids: list[str] | None = None
    where: Any = None
    missing_ok: bool = False


@dataclass(kw_only=True)
class QueryBody(_Body):
    """Queries, as texts, as vectors or (hybrid) both; the rest as for ``retrieve``."""

    queries: list[str] | None = None
    query_vectors: list[list[float]] | None = None
    topk: int = 10
    index_name: str | None = None
    where: Any = None
    mode: str | None = None
    threshold: float | None = None
    mmr: float | None = None
    fetch: int | None = None
    fusion: str = "auto"
    weight: float | None = None
    strategy: str = "auto"
    with_vectors: bool = False


@dataclass(kw_only=True)
class SearchBody(_Body):
    """A query to several collections; ``options`` as for ``search`` of the manager."""

    query: str | None = None
    names: list[str] | None = None
    topk: int = 10
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class FilterBody(_Body):
    """Rows of a filter or an index."""

    where: Any = None
    index_name: str | None = None
    limit: int | None = None
    with_vectors: bool = False


@dataclass(kw_only=True)
class IndexBody(_Body):
    """An index to make."""

    name: str
    where: Any = None
    kind: str = "vector"
    description: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class NameBody(_Body):
    """One name, or all."""

    name: str | None = None


@dataclass(kw_only=True)
class RetentionBody(_Body):
    """Bounds of a collection; absent lifts one. ``max_age`` in seconds."""

    max_rows: int | None = None
    max_age: float | None = None


@dataclass(kw_only=True)
class ApplyBody(_Body):
    """How bounds are applied: ``forget`` leaves nothing on disk."""

    forget: bool = False


@dataclass(kw_only=True)
class CallBody(_Body):
    """A method of a ``KV`` or ``Graph`` collection with its arguments."""

    method: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class TurnBody(_Body):
    """A turn to add to a session."""

    session: str
    role: str
    text: str
    turn_id: str | None = None
    provenance: dict[str, str | None] | None = None


@dataclass(kw_only=True)
class MemoryBody(_Body):
    """A fact for long-term memory; ``supersedes`` names the entry it replaces."""

    text: str
    metadata: dict[str, Any] | None = None
    scope: str | None = None
    provenance: dict[str, str | None] | None = None
    valid_from: float | None = None
    valid_to: float | None = None
    supersedes: str | None = None


@dataclass(kw_only=True)
class RecallBody(_Body):
    """A question to long-term memory."""

    query: str
    topk: int = 5
    session: str | None = None
    scope: str | None = None
    where: Any = None
    as_of: float | None = None
    superseded: bool = False
    threshold: float | None = None
    mode: str | None = None


@dataclass(kw_only=True)
class Failure:
    """What went wrong: ``{"error": {"type", "message", "data"}}``."""

    error: dict[str, Any]


@dataclass(kw_only=True)
class Row:
    """A row of a collection."""

    id: str
    text: str
    metadata: dict[str, Any]
    updated: float
    vector: list[float] | None = None


@dataclass(kw_only=True)
class Hit:
    """A row that answers a query; a greater score is better."""

    id: str
    text: str
    metadata: dict[str, Any]
    score: float
    vector: list[float] | None = None


@dataclass(kw_only=True)
class Hits:
    """The hits of each query, best first."""

    results: list[list[Hit]]


@dataclass(kw_only=True)
class Rows:
    """Rows, in the order of the ids asked for."""

    rows: list[Row]


@dataclass(kw_only=True)
class Ids:
    """Ids of the rows written, in order."""

    ids: list[str]


@dataclass(kw_only=True)
class Count:
    """How many."""

    count: int


@dataclass(kw_only=True)
class Health:
    """That the server runs."""

    status: Literal["ok"] = "ok"
