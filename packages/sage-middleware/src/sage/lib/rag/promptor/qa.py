"""``QAPromptor``: a question and its passages become the messages of a prompt."""

from __future__ import annotations

from typing import Any

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import PromptFunction, RetrievedLike
from sage.lib.rag.promptor.budget import fit_passages
from sage.lib.rag.promptor.template import compile_template, style_of, values_of, version_of
from sage.lib.types import ChatMessage, Prompt
from sage.middleware.tokens import get_tokenizer

DEFAULT_TEMPLATE = (
    "Answer the question from the context. If the context does not say, say that you do not "
    "know.\n\nContext:\n{context}\n\nQuestion: {query}\nAnswer:"
)


class QAPromptor(PromptFunction):
    """Fills a template with the question and as much of the passages as the budget allows.

    Truncation: passages are taken whole, best first; the first that does not fit is cut at a token
    boundary and the rest is left out. The passages of the prompt are those that made it in, the
    cut one with its shortened text, so lineage and citations speak of what the model saw.

    Example:
        >>> stream.map(QAPromptor, {"max_context_length": 2000})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            template: ``{context}``, ``{query}`` (or ``{question}``) and ``{id}``, or Jinja2
                (``{{ context }}``, ``{{ passages }}`` …) in a sandbox.
            template_style: ``auto`` (Jinja2 if the text has ``{{``, ``{%`` or ``{#``), ``braces``
                or ``jinja2``.
            system: System message, sent first as it is; default: none.
            max_context_length: Most tokens of the context, by ``tokenizer``; passages and
                separators count, template and question do not.
            tokenizer: ``simple`` (rules, no dependency), ``tiktoken:ENCODING`` or
                ``tokenizers:PATH``.
            separator: Text between two passages.
            numbered: Put ``[1] ``, ``[2] `` … before the passages, for citations.
        """

        template: str = DEFAULT_TEMPLATE
        template_style: str = "auto"
        system: str | None = None
        max_context_length: int = attrs.field(default=2000, validator=attrs.validators.ge(0))
        tokenizer: str = "simple"
        separator: str = "\n\n"
        numbered: bool = False

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        style = style_of(
            settings.template, style=settings.template_style, built_in=DEFAULT_TEMPLATE
        )
        self._render = compile_template(settings.template, style=style)
        self._tokenizer = get_tokenizer(settings.tokenizer)
        self._system = (
            ()
            if settings.system is None
            else (ChatMessage(role="system", content=settings.system),)
        )
        self._version = version_of(
            settings.template,
            style,
            settings.system or "",
            settings.separator,
            str(settings.numbered),
            str(settings.max_context_length),
            self._tokenizer.name,
        )

    def execute(self, item: RetrievedLike) -> Prompt:
        """Build the prompt.

        Raises:
            ItemError: The item holds no question.
        """
        retrieved = as_retrieved(item)
        query = retrieved.query
        settings = self.config
        fitted = fit_passages(
            retrieved.passages,
            settings.max_context_length,
            self._tokenizer,
            separator=settings.separator,
            numbered=settings.numbered,
        )
        content = self._render(values_of(query, fitted, settings.separator))
        return Prompt(
            messages=(*self._system, ChatMessage(role="user", content=content)),
            query=query,
            passages=fitted.passages,
            version=self._version,
            tokens=fitted.tokens,
        )
