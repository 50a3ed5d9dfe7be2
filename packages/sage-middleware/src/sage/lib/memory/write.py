"""``MemoryWrite``: what flows by is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from sage.api.functions import MapFunction
from sage.lib.adapt import as_answer, as_document, as_query
from sage.lib.errors import ItemError
from sage.lib.memory.keys import SERVICE, metadata_of, name_in, origin_of, service_of
from sage.lib.types import Answer, Document, Evaluation, Prompt, Query, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy

What = Literal["auto", "question", "answer", "exchange", "passages"]


class MemoryWrite(MapFunction[Any, Any]):
    """Writes items to long-term memory, or to a collection, and hands them on unchanged.

    Long-term memory has a gate: duplicates are refreshed; secrets and echoes of what the session
    has just recalled are refused. What became of the writes is counted as ``memory_inserted``,
    ``memory_refreshed`` and ``memory_refused`` in the metrics of the step.

    What it writes goes back with the checkpoints of the job. In a collection a text has an id made
    of the run, the step and the record: an item that is tried again replaces what it wrote.

    Example:
        >>> stream.map(MemoryWrite, {"what": "answer", "scope_field": "user"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            what: ``question``, ``answer``, ``exchange`` (both, as one text) or ``passages``;
                ``auto``: the answer of an answer, the text of a document or string, else the
                question.
            collection: A ``VDB`` collection to insert into as it is, without the gate; default:
                long-term memory.
            session_field: Metadata field that names the session; default: the item's key.
            session: One session for all items.
            scope_field: Metadata field that says whose memory it is.
            scope: One scope for all items.
            metadata: Written with every text.
            metadata_fields: Metadata fields of the item that are written too.
            service: Name of the service.
        """

        what: What = "auto"
        collection: str | None = None
        session_field: str | None = "session"
        session: str | None = None
        scope_field: str | None = None
        scope: str | None = None
        metadata: dict[str, Any] = attrs.field(factory=dict)
        metadata_fields: tuple[str, ...] = ()
        service: str = SERVICE

    _memory: ServiceProxy

    def open(self, ctx: RuntimeContext) -> None:
        """Find the service.

        Raises:
            ConfigError: There is none, or it has not the collection.
        """
        self._memory = service_of(ctx, self.config.service)
        if self.config.collection is not None:
            self._memory.get_collection(self.config.collection)

    def execute(self, item: Any) -> Any:
        """Write one item.

        Raises:
            ItemError: It holds no text of the kind that ``what`` asks for.
        """
        settings = self.config
        session = name_in(item, self.ctx, settings.session_field, settings.session)
        metadata = {**settings.metadata, **self._picked(item)}
        for nth, (source, text) in enumerate(texts_of(item, settings.what)):
            origin = origin_of(self.ctx, item, session, source)
            if settings.collection is not None:
                known = {f"_{key}": value for key, value in origin.items() if value is not None}
                self._memory.upsert(
                    settings.collection, text, {**metadata, **known}, self._row_id(nth)
                )
                self.ctx.count("memory_inserted")
                continue
            written = self._memory.remember(
                text,
                metadata,
                scope=name_in(item, self.ctx, settings.scope_field, settings.scope),
                provenance=origin,
            )
            self.ctx.count(f"memory_{written['status']}")
        return item

    def _row_id(self, nth: int) -> str | None:
        record = self.ctx.record_id
        if record is None:
            return None
        name = "\0".join((self.ctx.job_id, self.ctx.uid, record, str(nth)))
        return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _picked(self, item: Any) -> Mapping[str, Any]:
        known = metadata_of(item)
        return {key: known[key] for key in self.config.metadata_fields if key in known}


def texts_of(item: Any, what: What) -> Iterator[tuple[str, str]]:
    """The texts to write and what each is: ``user``, ``assistant`` or ``document``.

    Raises:
        ItemError: The item holds no such text.
    """
    if what == "auto":
        what = _natural(item)
    if what == "question":
        yield "user", as_query(item).text
    elif what == "answer":
        yield "assistant", as_answer(item).text
    elif what == "exchange":
        answer = as_answer(item)
        yield "exchange", f"{answer.query.text}\n{answer.text}"
    else:
        passages = getattr(item, "passages", None)
        for passage in passages if passages is not None else (as_document(item),):
            yield "document", passage.text


def _natural(item: Any) -> What:
    if isinstance(item, Answer | Evaluation):
        return "answer"
    if isinstance(item, Query | Retrieved | Prompt):
        return "question"
    if isinstance(item, Document | str):
        return "passages"
    if isinstance(item, Mapping):
        if "answer" in item:
            return "answer"
        return "passages" if "text" in item or "content" in item else "question"
    raise ItemError(
        f"cannot tell what to remember of a {type(item).__name__}; set what to question, answer, "
        "exchange or passages"
    )
