"""nDCG@10 of the retrievers and rerankers on open data.

    python benchmarks/rag/retrieval_quality.py --data DIR                       # every set in DIR
    python benchmarks/rag/retrieval_quality.py --data DIR --sets cranfield --embed hash
    python benchmarks/rag/retrieval_quality.py --data DIR --sets squad2 --queries 500

A set is a directory with ``corpus.jsonl`` (id, text, perhaps title and more), ``queries.jsonl``
(id, text) and ``qrels.tsv`` (query, document, grade; a header line). Questions without a relevant
document are left out. Where documents and questions have a ``conversation``, each question is
searched in its own. Prints one table per set; differences are to the retriever of the same row.
``--embed`` is the name of an embedding model; ``--cache`` a file that keeps the vectors for the
next run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from sage.api.context import RuntimeContext
from sage.apps.evaluation.corpus import passages_of
from sage.lib.rag.reranker import LightReranker, MMRReranker
from sage.lib.rag.retriever import (
    BM25Retriever,
    DenseRetriever,
    HybridRetriever,
    MultiQueryRetriever,
)
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.testing.retrievers import run_items
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

CANDIDATES = 50
Judgements = Mapping[str, Mapping[str, float]]


def read_set(folder: Path, limit: int) -> tuple[list[Document], list[Query], Judgements]:
    """Documents, questions that have a relevant document, and the judgements."""
    rows = _lines(folder / "corpus.jsonl")
    documents = passages_of(
        [Document(id=r.pop("id"), text=r.pop("text"), metadata=r) for r in rows], None
    )
    judged: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        question, document, grade, *_ = line.split("\t")
        if float(grade) > 0:
            judged.setdefault(question, {})[document] = float(grade)
    own = "conversation" in documents[0].metadata
    queries = []
    for row in _lines(folder / "queries.jsonl"):
        if row["id"] in judged:
            where = {"where": {"conversation": row["conversation"]}} if own else {}
            queries.append(Query(text=row["text"], id=row["id"], metadata=where))
    if limit and len(queries) > limit:
        queries = random.Random(0).sample(queries, limit)
    return documents, queries, judged


def ndcg(ids: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gains, as trec_eval computes it."""
    gain = sum(grades.get(name, 0.0) / log2(place + 2) for place, name in enumerate(ids[:k]))
    best = sorted(grades.values(), reverse=True)[:k]
    return gain / sum(grade / log2(place + 2) for place, grade in enumerate(best))


def run(operator: Any, items: Sequence[Any]) -> tuple[list[Retrieved], float]:
    """What an operator makes of the items, and the milliseconds per item."""
    operator.open(RuntimeContext(job_id="b", job_name="b", operator="b", uid="b"))
    started = time.perf_counter()
    try:
        found = run_items(operator, *items)
    finally:
        operator.close()
    return found, (time.perf_counter() - started) / max(1, len(items)) * 1000


def report(name: str, folder: Path, model: Any, limit: int) -> None:
    documents, queries, judged = read_set(folder, limit)
    vectors = model.embed_many([d.text for d in documents])
    asked = dict(
        zip(
            [q.text for q in queries],
            model.embed_many([q.text for q in queries], kind="query"),
            strict=True,
        )
    )

    def embed(text: str) -> Any:  # rewritten questions are new texts
        return asked[text] if text in asked else model.embed(text, kind="query")

    common = {"documents": documents, "top_k": CANDIDATES}
    dense = {**common, "vectors": vectors, "embed": embed}
    retrievers: dict[str, Callable[[], Any]] = {
        "BM25Retriever": lambda: BM25Retriever(common),
        "DenseRetriever": lambda: DenseRetriever(dense),
        "HybridRetriever auto": lambda: HybridRetriever(dense),
        "HybridRetriever convex": lambda: HybridRetriever({**dense, "fusion": "convex"}),
        "HybridRetriever rrf": lambda: HybridRetriever({**dense, "fusion": "rrf"}),
        "MultiQueryRetriever rules": lambda: MultiQueryRetriever(dense),
    }
    rerankers: dict[str, Callable[[], Any]] = {
        "LightReranker": LightReranker,
        "MMRReranker 0.9": lambda: MMRReranker({"balance": 0.9, "top_k": 10}),
    }
    print(f"\n{name}: {len(documents)} documents, {len(queries)} questions, {model.name}")
    print(f"{'':26} nDCG@10   ms/query" + "".join(f"   + {title:<22}" for title in rerankers))

    def mean(results: Sequence[Retrieved]) -> float:
        scores = [ndcg([d.id for d in r.passages], judged[r.query.id]) for r in results]
        return sum(scores) / len(scores)

    for title, make in retrievers.items():
        found, cost = run(make(), queries)
        base = mean(found)
        cells = []
        for rerank in rerankers.values():
            again, spent = run(rerank(), found)
            value = mean(again)
            cells.append(f"   {value:.4f} ({value - base:+.4f}, {spent:.1f} ms)")
        print(f"{title:26} {base:.4f}    {cost:7.2f}" + "".join(f"{c:<27}" for c in cells))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the sets")
    parser.add_argument("--sets", nargs="*", help="names of sets; default: all with qrels.tsv")
    parser.add_argument("--embed", default="default", help="name of an embedding model")
    parser.add_argument("--queries", type=int, default=0, help="a sample of so many; 0: all")
    parser.add_argument("--cache", help="file that keeps the vectors")
    options = parser.parse_args()
    settings = {"cache_path": options.cache} if options.cache else {}
    names = options.sets or sorted(p.parent.name for p in options.data.glob("*/qrels.tsv"))
    with apply_embedding_model(options.embed, **settings) as model:
        for name in names:
            report(name, options.data / name, model, options.queries)


if __name__ == "__main__":
    main()
