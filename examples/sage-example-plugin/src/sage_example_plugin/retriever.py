"""A retriever that counts the words a passage shares with the question."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import attrs

from sage.api.context import RuntimeContext
from sage.api.functions import MapFunction
from sage.lib.types import Document, Query, Retrieved

_WORD = re.compile(r"\w+")


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


@attrs.frozen(kw_only=True)
class KeywordRetrieverConfig:
    """What the retriever is told."""

    file_path: Path = attrs.field(metadata={"help": "Text file with one passage per line, UTF-8."})
    top_k: int = attrs.field(
        default=3,
        validator=attrs.validators.ge(1),
        metadata={"help": "How many passages to return.", "unit": "passages"},
    )


class KeywordRetriever(MapFunction[Query | str, Retrieved]):
    """Rank the lines of a file by the share of the question's words that they contain.

    Lines without a common word are not returned. The score is between 0 and 1; equal scores keep
    the order of the file.
    """

    Config: ClassVar[type] = KeywordRetrieverConfig

    def open(self, ctx: RuntimeContext) -> None:
        """Read the file, once per subtask."""
        lines = self.config.file_path.read_text(encoding="utf-8").splitlines()
        self._passages = [
            (Document(id=str(number), text=line), _words(line))
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]

    def execute(self, item: Query | str) -> Retrieved:
        """Find the passages for one question."""
        query = Query(text=item) if isinstance(item, str) else item
        wanted = _words(query.text)
        scored = [
            attrs.evolve(passage, score=len(wanted & words) / len(wanted))
            for passage, words in self._passages
            if wanted & words
        ]
        scored.sort(key=lambda passage: -(passage.score or 0.0))
        return Retrieved(query=query, passages=tuple(scored[: self.config.top_k]))
