"""Pipelines over a data set's own corpus, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from sage.api.datastream import DataStream
from sage.apps.evaluation.corpus import collection_of, passages_of
from sage.apps.evaluation.dataset import Dataset
from sage.apps.qa.pipeline import TEMPLATE, choose_generator
from sage.lib.rag.generator import ExtractiveGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import BM25Retriever, DenseRetriever, HybridRetriever
from sage.lib.types import Query

NAMES = {
    "retrieval-bm25": "BM25 search",
    "retrieval-dense": "search by vectors",
    "retrieval-hybrid": "BM25 and vectors, fused",
    "extractive": "BM25 search, then a quoted span; no model",
    "qa": "hybrid search, prompt, then the model at OPENAI_BASE_URL (without one: a quoted span)",
}
SPAN_CHARS = 800
OWN = ("top_k", "embedder", "model", "max_chars")
"""Options that no pipeline file or program takes."""


@attrs.frozen(kw_only=True)
class BuiltinOptions:
    """What can be chosen.

    Attributes:
        top_k: Passages per question; default: 100 where a ranking is judged, else 5.
        embedder: Embedding model.
        model: Name of the language model.
        max_chars: Cut documents into pieces; default: 800 when the data set marks spans.
        concurrency: Model calls in flight.
    """

    top_k: int | None = None
    embedder: str = "default"
    model: str | None = None
    max_chars: int | None = None
    concurrency: int = 16

    def chosen(self) -> list[str]:
        """Those of ``OWN`` that are not as by default."""
        default = BuiltinOptions()
        return [name for name in OWN if getattr(self, name) != getattr(default, name)]


def build(
    name: str,
    source: DataStream[Query],
    dataset: Dataset,
    options: BuiltinOptions,
    index_dir: Path,
) -> DataStream[Any]:
    """Declare a built-in pipeline; returns the stream of its results.

    Raises:
        ConfigError: The data set has no corpus.
    """
    answers = name in ("extractive", "qa")
    # The whole ranking where it is judged; else what an answer would be written from.
    ranked = dataset.has("qrels") or not dataset.has("spans")
    top_k = options.top_k or (100 if ranked and not answers else 5)
    max_chars = options.max_chars or (SPAN_CHARS if dataset.has("spans") else None)
    passages = passages_of(dataset.documents(), max_chars)
    stream: DataStream[Any]
    if name in ("retrieval-bm25", "extractive"):
        stream = source.map(BM25Retriever, {"documents": passages, "top_k": top_k})
    else:
        kind = DenseRetriever if name == "retrieval-dense" else HybridRetriever
        collection = collection_of(passages, index_dir, options.embedder)
        stream = source.map(
            kind, {"collection_name": collection, "data_dir": str(index_dir), "top_k": top_k}
        )
    if name == "extractive":
        return stream.map(ExtractiveGenerator, {"answer": "span"})
    if name == "qa":
        generator = choose_generator(options.model)
        stream = stream.map(QAPromptor, {"template": TEMPLATE, "max_context_length": 2000})
        extra = (
            {}
            if generator.operator is ExtractiveGenerator
            else {"concurrency": options.concurrency}
        )
        return stream.map(generator.operator, generator.config, **extra)
    return stream
