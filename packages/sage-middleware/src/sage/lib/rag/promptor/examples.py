"""Worked examples for a prompt: read, checked, and chosen for a question.

Predecessor: ``sage.middleware.search``; successor: ``sage.lib.rag.promptor.few_shot``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError

QUESTION_KEYS = ("question", "query", "input", "text")
ANSWER_KEYS = ("answer", "output", "label")


@attrs.frozen(kw_only=True)
class Example:
    """A question (with the context it was asked about, if any) and its right answer."""

    question: str
    answer: str
    context: str = ""


def as_example(raw: Any, where: str) -> Example:
    """An example from a mapping.

    Args:
        raw: Has ``question`` (or ``query``, ``input``, ``text``), ``answer`` (or ``output``,
            ``label``; a list of answers stands for its first) and optionally ``context``.
        where: What the error calls it.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(raw, Example):
        return raw
    if isinstance(raw, Mapping):
        question = next((raw[key] for key in QUESTION_KEYS if key in raw), None)
        answer = next((raw[key] for key in ANSWER_KEYS if key in raw), None)
        if answer is None and isinstance(raw.get("answers"), list | tuple) and raw["answers"]:
            answer = raw["answers"][0]
        context = raw.get("context") or ""
        if all(isinstance(text, str) for text in (question, answer, context)):
            return Example(question=str(question), answer=str(answer), context=str(context))
    raise ConfigError(
        f"{where} must be a mapping with the texts 'question' and 'answer', got {raw!r:.80}"
    )


def read_examples(path: str | Path) -> list[Example]:
    """The examples of a JSONL file, one mapping per line.

    Raises:
        ConfigError: There is no such file.
        InputFileError: A line is no JSON, or no example.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read examples_file {str(path)!r}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(as_example(json.loads(line), "an example"))
        except (json.JSONDecodeError, ConfigError) as error:
            raise InputFileError(
                f"{path}:{number}: {error}", path=str(path), line=number
            ) from error
    return found


class ExampleIndex:
    """Finds the examples whose questions are nearest to a question.

    Args:
        examples: To choose from.
        embedding: Settings of an embedding model with its ``method``; ``None``: words (BM25).

    Raises:
        UnknownNameError, ConfigError: The embedding cannot be made.
    """

    def __init__(self, examples: Iterable[Example], embedding: Mapping[str, Any] | None) -> None:
        self._examples = list(examples)
        questions = [example.question for example in self._examples]
        self._model: Any = None
        if embedding is None:
            from sage.middleware.search.bm25.index import BM25Index  # noqa: PLC0415 - NumPy

            self._words = BM25Index()
            self._words.add(range(len(questions)), questions)
            return
        from sage.middleware.utils.embedding import apply_embedding_model  # noqa: PLC0415 - NumPy

        settings = dict(embedding)
        self._model = apply_embedding_model(settings.pop("method", "default"), **settings)
        self._vectors = self._model.embed_many(questions)

    def nearest(self, question: str, count: int) -> list[Example]:
        """At most ``count`` examples, nearest first.

        Fewer when the rest shares no word with the question (BM25).
        """
        if count < 1 or not self._examples:
            return []
        if self._model is None:
            slots, _ = self._words.search(question, count)
            return [self._examples[int(slot)] for slot in slots]
        scores = self._vectors @ self._model.embed(question, kind="query")
        order = (-scores).argsort(kind="stable")[:count]
        return [self._examples[int(slot)] for slot in order]

    def close(self) -> None:
        """Release the embedding model."""
        if self._model is not None:
            self._model.close()
