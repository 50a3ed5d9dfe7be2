"""The configuration of the memory service, as ``env.set_memory`` and a config file write it.

Successor: ``sage.middleware.services.memory.service``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

_positive = attrs.validators.gt(0)
_share = attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(1.0))


@attrs.frozen(kw_only=True)
class CollectionSettings:
    """A collection that the service makes when it starts, unless it is there.

    Attributes:
        backend_type: ``VDB``, ``KV``, ``Graph`` or the name of an installed back end.
        description: Free text for listings.
        embedding_model: Name or mapping for ``apply_embedding_model``; ``VDB`` only; default: that
            of the service.
        dim: Elements of a vector, when vectors come ready.
        indexes: Name → ``where`` filter of each index.
        options: What else the back end takes, such as ``metric``.
    """

    backend_type: str = "VDB"
    description: str = ""
    embedding_model: str | Mapping[str, Any] | None = None
    dim: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    indexes: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class SessionSettings:
    """The short-term window of each session.

    Attributes:
        max_tokens: Tokens of the window, its summary included.
        policy: What happens to turns that leave the window: ``drop`` or ``summarise``.
        summary_tokens: Tokens of the summary; default: a quarter of ``max_tokens``.
        summariser: ``extractive`` (no model), or settings of a chat model: ``model``,
            ``base_url``, ``api_key`` (``env:NAME`` or ``file:path``), ``timeout`` in seconds.
        tokenizer: See ``sage.middleware.tokens.get_tokenizer``.
        ttl: Seconds after the last turn until a session is forgotten; ``None``: never.
        recall_log: Memories a session is known to have seen, at most; they are not stored again.
    """

    max_tokens: int = attrs.field(default=2000, validator=_positive)
    policy: Literal["drop", "summarise"] = "drop"
    summary_tokens: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    summariser: str | Mapping[str, Any] = "extractive"
    tokenizer: str = "simple"
    ttl: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    recall_log: int = attrs.field(default=256, validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class LongTermSettings:
    """Long-term memory and the gate before it.

    Attributes:
        collection: The ``VDB`` collection that holds it; made on first use.
        duplicate_threshold: Cosine from which two texts count as one; 1 switches this off but for
            equal texts.
        echo_threshold: Share of a text's word triples that were just recalled, from which it is an
            echo and not stored.
        refuse_secrets: Whether texts with keys, tokens, passwords or card numbers are refused.
        mode: How it is searched: ``dense``, ``bm25`` or ``hybrid``.
    """

    collection: str = "long_term"
    duplicate_threshold: float = attrs.field(default=0.92, validator=_share)
    echo_threshold: float = attrs.field(default=0.6, validator=_share)
    refuse_secrets: bool = True
    mode: Literal["dense", "bm25", "hybrid"] | None = None


@attrs.frozen(kw_only=True)
class MemoryConfig:
    """Settings of ``MemoryService``.

    Attributes:
        data_dir: Directory of the collections; default: ``$SAGE_MEMORY_DIR``, else SAGE's data
            directory.
        embedding_model: For ``VDB`` collections that are made without a model or a dimension: a
            name or a mapping for ``apply_embedding_model``, or ``None`` for search by words only.
        durability: ``process``, ``power`` or ``none``, for collections the service makes; see
            ``storage.database``.
        collections: Collections to make at the start, by name.
        session: The short-term tier.
        long_term: The long-term tier.
        tiers: The ``KV`` collection that holds sessions, tasks and the recall log.
        keep_undo: Seconds for which is kept what a job with checkpoints replaced: within that time
            memory goes back with a job that goes on, or starts from a savepoint.
    """

    data_dir: str | None = None
    embedding_model: str | Mapping[str, Any] | None = "default"
    durability: Literal["process", "power", "none"] = "process"
    collections: Mapping[str, CollectionSettings] = attrs.field(factory=dict)
    session: SessionSettings = attrs.field(factory=SessionSettings)
    long_term: LongTermSettings = attrs.field(factory=LongTermSettings)
    tiers: str = "tiers"
    keep_undo: float = attrs.field(default=30 * 86400.0, validator=attrs.validators.gt(0.0))
