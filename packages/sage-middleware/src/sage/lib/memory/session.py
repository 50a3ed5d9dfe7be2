"""``SessionMemory``: the history of a conversation travels with its questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from sage.api.functions import MapFunction
from sage.lib.adapt import as_query
from sage.lib.errors import ItemError
from sage.lib.memory.keys import SERVICE, name_in, origin_of, service_of
from sage.lib.types import Answer, Evaluation, Prompt, Query, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy

HISTORY = "history"
"""Metadata field of a question that holds the history: ``{"role", "content"}`` mappings."""


class SessionMemory(MapFunction[Any, Any]):
    """Puts the history of its session on each question, and adds what passes by to the session.

    Before the generator it sees questions: the query gets ``metadata["history"]``, a tuple of
    ``{"role", "content"}`` mappings with what was said before (a summary first, if there is one),
    and the question becomes a turn. After the generator it sees answers: the answer becomes a turn
    and is handed on unchanged. A pipeline has one before and one after. An item that is tried again
    adds no second turn, and the turns of a session go back with the checkpoints of the job.

    Example:
        >>> stream.map(SessionMemory).map(ChatPromptor).map(OpenAIGenerator).map(SessionMemory)
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            session_field: Metadata field that names the session; default: the item's key.
            session: One session for all items.
            max_tokens: Tokens of the history; default: those of the service's window.
            record: Whether what passes by is added to the session.
            service: Name of the service.
        """

        session_field: str | None = "session"
        session: str | None = None
        max_tokens: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        record: bool = True
        service: str = SERVICE

    _memory: ServiceProxy

    def open(self, ctx: RuntimeContext) -> None:
        """Find the service.

        Raises:
            ConfigError: There is none.
        """
        self._memory = service_of(ctx, self.config.service)

    def execute(self, item: Any) -> Any:
        """Add the history to a question, or an answer to the history.

        Raises:
            ItemError: The item has no session, or is neither question nor answer.
        """
        session = name_in(item, self.ctx, self.config.session_field, self.config.session)
        if session is None:
            raise ItemError(
                f"the item has no session: expected the metadata field "
                f"{self.config.session_field!r}, a key (key_by), or session in the configuration"
            )
        if isinstance(item, Answer | Evaluation):
            answer = item if isinstance(item, Answer) else item.answer
            self._add(session, item, "assistant", answer.text)
            return item
        said = self._memory.history(session, self.config.max_tokens)["messages"]
        query = as_query(item)
        self._add(session, item, "user", query.text)
        # Read before the question was added: the model gets the question from the prompt.
        metadata = {**query.metadata, HISTORY: tuple(said), "session": session}
        return _with_query(item, attrs.evolve(query, metadata=metadata))

    def _add(self, session: str, item: Any, role: str, text: str) -> None:
        if not self.config.record or not text:
            return
        record = self.ctx.record_id
        self._memory.add_turn(
            session,
            role,
            text,
            turn_id=None if record is None else f"{self.ctx.job_id}/{record}/{role}",
            provenance=origin_of(self.ctx, item, session, role),
        )


def _with_query(item: Any, query: Query) -> Any:
    if isinstance(item, Retrieved | Prompt):
        return attrs.evolve(item, query=query)
    if isinstance(item, Mapping):
        return {**item, "query": query}
    if isinstance(item, tuple):
        return (query, *item[1:])
    return query
