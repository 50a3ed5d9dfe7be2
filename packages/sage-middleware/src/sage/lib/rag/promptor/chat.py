"""``ChatPromptor``: the next turn of a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.adapt import as_prompt, as_retrieved
from sage.lib.contracts import PromptFunction, RetrievedLike
from sage.lib.errors import ItemError
from sage.lib.memory.keys import name_in, service_of
from sage.lib.rag.promptor.budget import FittedPassages, fit_passages, fit_turns
from sage.lib.rag.promptor.template import compile_template, style_of, values_of, version_of
from sage.lib.types import ChatMessage, Prompt, Query
from sage.middleware.tokens import get_tokenizer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy

CONTEXT_TEMPLATE = "Use this context where it helps.\n\nContext:\n{context}\n\nQuestion: {query}"


class ChatPromptor(PromptFunction):
    """The system message, what was said before, and the question (with its passages) as messages.

    The history is the metadata field ``history`` of the item, which ``SessionMemory`` fills, or,
    with ``service``, comes from the session memory itself.

    Truncation, in tokens of ``tokenizer``: the system message and the question always stay.
    Passages get up to ``max_context_length`` of what these two leave (best first, the last one cut
    at a token boundary). Turns get what is then left of ``max_tokens``, at most
    ``max_history_tokens``: the oldest go first, whole, and what remains starts with a user turn.
    System messages in the history (a summary) stay as long as they fit by themselves.

    Example:
        >>> stream.map(SessionMemory).map(ChatPromptor, {"system": "Be brief."})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            system: System message, sent first as it is; default: none.
            template: Of the last user message: ``{context}``, ``{query}`` (or ``{question}``) and
                ``{id}``, or Jinja2 in a sandbox. Default: the bare question, or
                ``CONTEXT_TEMPLATE`` when there are passages.
            template_style: ``auto``, ``braces`` or ``jinja2``, as in ``QAPromptor``.
            max_tokens: Most tokens of all messages together.
            max_history_tokens: Most tokens of the history.
            max_context_length: Most tokens of the passages.
            message_tokens: Tokens that every message costs besides its text.
            tokenizer: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``.
            separator: Text between two passages.
            numbered: Put ``[1] ``, ``[2] `` … before the passages, for citations.
            history_field: Metadata field with the history.
            service: Name of the memory service to ask for the history; default: not asked.
            session_field: Metadata field that names the session; default: the item's key.
            session: One session for all items.
        """

        system: str | None = None
        template: str | None = None
        template_style: str = "auto"
        max_tokens: int = attrs.field(default=8000, validator=attrs.validators.ge(1))
        max_history_tokens: int = attrs.field(default=4000, validator=attrs.validators.ge(0))
        max_context_length: int = attrs.field(default=2000, validator=attrs.validators.ge(0))
        message_tokens: int = attrs.field(default=4, validator=attrs.validators.ge(0))
        tokenizer: str = "simple"
        separator: str = "\n\n"
        numbered: bool = False
        history_field: str = "history"
        service: str | None = None
        session_field: str | None = "session"
        session: str | None = None

    _memory: ServiceProxy | None = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        template = settings.template or CONTEXT_TEMPLATE
        style = style_of(template, style=settings.template_style, built_in=CONTEXT_TEMPLATE)
        self._render = compile_template(template, style=style)
        self._tokenizer = get_tokenizer(settings.tokenizer)
        self._system = (
            ()
            if settings.system is None
            else (ChatMessage(role="system", content=settings.system),)
        )
        self._version = version_of(
            "chat",
            template,
            style,
            settings.system or "",
            settings.separator,
            str(settings.numbered),
            str((settings.max_tokens, settings.max_history_tokens, settings.max_context_length)),
            str(settings.message_tokens),
            self._tokenizer.name,
        )

    def open(self, ctx: RuntimeContext) -> None:
        """Find the memory service, if one is to be asked.

        Raises:
            ConfigError: There is none of that name.
        """
        if self.config.service is not None:
            self._memory = service_of(ctx, self.config.service)

    def execute(self, item: RetrievedLike) -> Prompt:
        """Build the messages.

        Raises:
            ItemError: The item holds no question, its history is no list of messages, it names no
                session though the memory is to be asked, or the system message and the question
                alone are over ``max_tokens``.
        """
        settings = self.config
        retrieved = as_retrieved(item)
        query = retrieved.query
        room = settings.max_context_length
        while True:
            fitted = fit_passages(
                retrieved.passages,
                room,
                self._tokenizer,
                separator=settings.separator,
                numbered=settings.numbered,
            )
            asked = self._ask(query, fitted)
            left = settings.max_tokens - self._size(*(m.content for m in self._system), asked)
            if left >= 0:
                break
            if not fitted.passages:
                raise ItemError(
                    f"the system message and the question have {settings.max_tokens - left} "
                    f"tokens, more than max_tokens={settings.max_tokens}; raise it or shorten the "
                    "question"
                )
            # A template may repeat the context: what is over is shared among the repetitions.
            over = -left * fitted.tokens // max(1, self._tokenizer.count(asked))
            room = max(0, fitted.tokens - max(1, over))
        turns = fit_turns(
            self._history(item, query),
            min(left, settings.max_history_tokens),
            self._tokenizer,
            per_message=settings.message_tokens,
        )
        return Prompt(
            messages=(*self._system, *turns, ChatMessage(role="user", content=asked)),
            query=query,
            passages=fitted.passages,
            version=self._version,
            tokens=fitted.tokens,
        )

    def _ask(self, query: Query, fitted: FittedPassages) -> str:
        if self.config.template is None and not fitted.passages:
            return query.text
        return self._render(values_of(query, fitted, self.config.separator))

    def _size(self, *texts: str) -> int:
        return sum(self._tokenizer.count(text) + self.config.message_tokens for text in texts)

    def _history(self, item: Any, query: Query) -> tuple[ChatMessage, ...]:
        settings = self.config
        if self._memory is not None:
            session = name_in(item, self.ctx, settings.session_field, settings.session)
            if session is None:
                raise ItemError(
                    f"the item has no session: expected the metadata field "
                    f"{settings.session_field!r}, a key (key_by), or session in the configuration"
                )
            said: Any = self._memory.history(session, settings.max_history_tokens or 1)["messages"]
        else:
            said = query.metadata.get(settings.history_field) or ()
        if isinstance(said, str) or not hasattr(said, "__iter__"):
            raise ItemError(
                f"the metadata field {settings.history_field!r} must be a list of messages with "
                f"'role' and 'content', got {type(said).__name__}"
            )
        said = list(said)
        return as_prompt(said).messages if said else ()
