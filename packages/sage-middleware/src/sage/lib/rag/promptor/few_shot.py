"""``FewShotPromptor``: worked examples before the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_retrieved
from sage.lib.contracts import PromptFunction, RetrievedLike
from sage.lib.errors import ItemError
from sage.lib.memory.keys import SERVICE, service_of
from sage.lib.rag.promptor.budget import fit_passages
from sage.lib.rag.promptor.examples import Example, ExampleIndex, as_example, read_examples
from sage.lib.rag.promptor.template import compile_template, style_of, values_of, version_of
from sage.lib.types import ChatMessage, Prompt, Query
from sage.middleware.tokens import get_tokenizer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy

CONTEXT_TEMPLATE = "Context:\n{context}\n\nQuestion: {query}\nAnswer:"
BARE_TEMPLATE = "Question: {query}\nAnswer:"


class FewShotPromptor(PromptFunction):
    """Shows the model how questions of this kind are answered, then asks.

    The examples are ``examples`` (or ``examples_file``), all of them in their order (``select:
    fixed``) or those nearest to the question (``similar``); the rows of a memory ``collection``
    nearest to the question (text: the question, metadata field ``answer``); or those that an
    earlier step put into the metadata field ``examples_field`` (``item``). Chosen by nearness, the
    nearest comes last, next to the question.

    Truncation, in tokens of ``tokenizer``: examples are taken whole, fixed ones in their order and
    chosen ones nearest first, until one does not fit into ``max_example_tokens``; the rest is left
    out. Passages as in ``QAPromptor``. An example that asks the very question is left out, so that
    an evaluation over the examples' own data set does not see its answers. The version of the
    prompt covers the settings and all examples given, not the choice made for an item.

    Example:
        >>> stream.map(FewShotPromptor, {"examples_file": "shots.jsonl", "select": "similar"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            examples: Mappings with ``question``, ``answer`` and optionally ``context``.
            examples_file: JSONL file with such mappings.
            select: ``fixed``, ``similar`` or ``item``; default: ``fixed``.
            collection: Memory collection to choose from instead.
            service: Name of the memory service that has it.
            examples_field: Metadata field of the item for ``select: item``.
            k: Most examples of an item.
            embedding: Embedding model for ``similar``, with its ``method``; default: words (BM25).
            exclude_same: Leave out examples that ask the question itself.
            style: ``messages`` (user and assistant turns) or ``text`` (one user message).
            template: Of a question with passages: ``{context}``, ``{query}`` (or ``{question}``)
                and ``{id}``, or Jinja2 in a sandbox; an example's context is its ``{context}``.
            bare_template: Of a question (or example) without passages (or context).
            template_style: ``auto``, ``braces`` or ``jinja2``.
            system: System message, sent first as it is; default: none.
            max_example_tokens: Most tokens of the examples together.
            max_context_length: Most tokens of the passages.
            tokenizer: ``simple``, ``tiktoken:ENCODING`` or ``tokenizers:PATH``.
            separator: Text between two passages, and two examples of the ``text`` style.
            numbered: Put ``[1] ``, ``[2] `` … before the passages.
        """

        examples: list[Any] = attrs.field(factory=list)
        examples_file: str | None = None
        select: Literal["fixed", "similar", "item"] = "fixed"
        collection: str | None = None
        service: str = SERVICE
        examples_field: str = "examples"
        k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
        embedding: dict[str, Any] | None = None
        exclude_same: bool = True
        style: Literal["messages", "text"] = "messages"
        template: str = CONTEXT_TEMPLATE
        bare_template: str = BARE_TEMPLATE
        template_style: str = "auto"
        system: str | None = None
        max_example_tokens: int = attrs.field(default=1000, validator=attrs.validators.ge(0))
        max_context_length: int = attrs.field(default=2000, validator=attrs.validators.ge(0))
        tokenizer: str = "simple"
        separator: str = "\n\n"
        numbered: bool = False

    _known: list[Example]
    _version: str
    _index: ExampleIndex | None = None
    _memory: ServiceProxy | None = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        self._examples = [
            as_example(raw, f"FewShotPromptor: examples[{n}]")
            for n, raw in enumerate(settings.examples)
        ]
        given = bool(settings.examples) or settings.examples_file is not None
        if settings.collection is None and settings.select != "item" and not given:
            raise ConfigError(
                "FewShotPromptor has no examples: give examples, examples_file, collection, or "
                "select: item"
            )
        if settings.collection is not None and (given or settings.select == "item"):
            raise ConfigError(
                "FewShotPromptor: collection cannot be combined with examples, examples_file or "
                "select: item; choose one"
            )
        self._styles = [
            style_of(text, style=settings.template_style, built_in=own)
            for text, own in (
                (settings.template, CONTEXT_TEMPLATE),
                (settings.bare_template, BARE_TEMPLATE),
            )
        ]
        self._render = compile_template(settings.template, style=self._styles[0])
        self._bare = compile_template(settings.bare_template, style=self._styles[1])
        self._tokenizer = get_tokenizer(settings.tokenizer)

    def open(self, ctx: RuntimeContext) -> None:
        """Read the examples file, index the examples, or find the memory service.

        Raises:
            ConfigError: The file, the service or the collection is missing.
            InputFileError: A line of the file is no example.
        """
        settings = self.config
        if settings.collection is not None:
            self._memory = service_of(ctx, settings.service)
            self._memory.get_collection(settings.collection)
        self._known = list(self._examples)
        if settings.examples_file is not None:
            self._known += read_examples(settings.examples_file)
        self._version = self._make_version()
        if settings.select == "similar" and self._memory is None:
            self._index = ExampleIndex(self._known, settings.embedding)

    def execute(self, item: RetrievedLike) -> Prompt:
        """Build the prompt.

        Raises:
            ItemError: The item holds no question, or its examples are none.
        """
        settings = self.config
        retrieved = as_retrieved(item)
        query = retrieved.query
        fitted = fit_passages(
            retrieved.passages,
            settings.max_context_length,
            self._tokenizer,
            separator=settings.separator,
            numbered=settings.numbered,
        )
        render = self._render if fitted.passages else self._bare
        asked = render(values_of(query, fitted, settings.separator))
        shots = [(self._ask(example), example.answer) for example in self._chosen(query)]
        messages: list[ChatMessage] = []
        if settings.system is not None:
            messages.append(ChatMessage(role="system", content=settings.system))
        if settings.style == "text":
            parts = [*(f"{question} {answer}" for question, answer in shots), asked]
            messages.append(ChatMessage(role="user", content=settings.separator.join(parts)))
        else:
            for question, answer in shots:
                messages.append(ChatMessage(role="user", content=question))
                messages.append(ChatMessage(role="assistant", content=answer))
            messages.append(ChatMessage(role="user", content=asked))
        return Prompt(
            messages=tuple(messages),
            query=query,
            passages=fitted.passages,
            version=self._version,
            tokens=fitted.tokens,
        )

    def close(self) -> None:
        """Release the index."""
        if self._index is not None:
            self._index.close()

    def _chosen(self, query: Query) -> list[Example]:
        settings = self.config
        by_nearness = True
        # One more than asked for: the question itself may be among them.
        wanted = settings.k + 1 if settings.exclude_same else settings.k
        found: Sequence[Example]
        if self._memory is not None:
            hits = self._memory.retrieve(settings.collection, query.text, wanted)
            found = [
                as_example({**hit["metadata"], "question": hit["text"]}, f"row {hit['id']!r}")
                for hit in hits
            ]
        elif self._index is not None:
            found = self._index.nearest(query.text, wanted)
        elif settings.select == "item":
            found, by_nearness = self._of_item(query), False
        else:
            found, by_nearness = self._known, False
        same = query.text.strip().casefold()
        kept: list[Example] = []
        left = settings.max_example_tokens
        for example in found:
            if settings.exclude_same and example.question.strip().casefold() == same:
                continue
            left -= self._tokenizer.count(self._ask(example))
            left -= self._tokenizer.count(example.answer)
            if left < 0 or len(kept) == settings.k:
                break
            kept.append(example)
        return kept[::-1] if by_nearness else kept

    def _of_item(self, query: Query) -> list[Example]:
        field = self.config.examples_field
        given = query.metadata.get(field) or ()
        if not isinstance(given, list | tuple):
            raise ItemError(
                f"the metadata field {field!r} must be a list of examples, "
                f"got {type(given).__name__}"
            )
        try:
            return [as_example(raw, f"metadata[{field!r}][{n}]") for n, raw in enumerate(given)]
        except ConfigError as error:
            raise ItemError(error.message) from error

    def _ask(self, example: Example) -> str:
        values = {
            "context": example.context,
            "query": example.question,
            "question": example.question,
            "id": "",
            "metadata": {},
            "passages": [{"id": "", "text": example.context, "score": None, "metadata": {}}],
        }
        return (self._render if example.context else self._bare)(values)

    def _make_version(self) -> str:
        settings = self.config
        return version_of(
            "few-shot",
            settings.template,
            settings.bare_template,
            *self._styles,
            settings.system or "",
            settings.style,
            settings.separator,
            settings.select,
            settings.collection or "",
            str((settings.numbered, settings.max_context_length, settings.max_example_tokens)),
            str((settings.k, settings.exclude_same, settings.embedding)),
            self._tokenizer.name,
            *(text for e in self._known for text in (e.question, e.answer, e.context)),
        )
