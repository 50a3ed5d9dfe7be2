"""How good BM25, vectors and their fusion are, on open retrieval data: nDCG@10.

    python -m benchmarks.memory.quality --data DIR [--sets cranfield ...] [--model minilm]
                                        [--vectors CACHE_DIR] [--queries 500]

``DIR`` holds one folder per data set with ``corpus.jsonl`` (id, title, text; for dialogue
speaker, date_time, conversation), ``queries.jsonl`` (id, text) and ``qrels.tsv`` (query, document,
grade). A question about a conversation searches that conversation only. One setting for all sets:
every option has its default. ``--vectors`` keeps the vectors between runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.search import BM25Index
from sage.middleware.search.fusion import DEPTH, convex, fuse, reciprocal_rank
from sage.middleware.utils.embedding import EmbeddingModel, apply_embedding_model

DISCOUNTS = 1 / np.log2(np.arange(2, 12))
GOALS = {
    "cranfield": (0.425, 0.430),
    "squad2": (0.905, 0.915),
    "locomo_open": (0.51, 0.540),
}
METHODS = ("bm25", "dense", "rrf k=60", "rrf k=10", "convex .5", "auto")


class Lists:
    """The two rankings of one query, and what is known about it."""

    def __init__(self, dense: Any, sparse: Any, population: int, weight: float) -> None:
        self.dense, self.sparse = dense, sparse
        self.population, self.weight = population, weight

    def by(self, method: str) -> Sequence[int]:
        """Rows of the corpus, best first."""
        match method:
            case "bm25":
                return self.sparse[0]
            case "dense":
                return self.dense[0]
            case "rrf k=60":
                return reciprocal_rank([self.dense, self.sparse], k=60)[0]
            case "rrf k=10":
                return reciprocal_rank([self.dense, self.sparse], k=10)[0]
            case "convex .5":
                return convex(self.dense, self.sparse, weight=0.5)[0]
        return fuse(self.dense, self.sparse, population=self.population, query_weight=self.weight)[
            0
        ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def text_of(document: dict[str, Any]) -> str:
    """What is indexed and embedded."""
    if "speaker" in document:
        return f"{document['speaker']} ({document['date_time']}): {document['text']}"
    title = document.get("title")
    return f"{title}. {document['text']}".strip(". ") if title else str(document["text"])


def embedded(
    make: Callable[[], EmbeddingModel], texts: Sequence[str], kind: Any, cache: Path | None
) -> np.ndarray:
    """Vectors of texts, from the cache when it has them."""
    if cache is None:
        return make().embed_many(texts, kind=kind)
    model = make()
    mark = hashlib.sha256("\0".join([model.fingerprint, kind, *texts]).encode()).hexdigest()
    path = cache / f"{mark[:24]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, model.embed_many(texts, kind=kind))
    return np.load(path)


def ndcg10(found: Sequence[str], grades: dict[str, float]) -> float:
    """Normalised discounted cumulative gain of the first ten."""
    gains = np.array([grades.get(name, 0.0) for name in found[:10]])
    ideal = np.sort(list(grades.values()))[::-1][:10]
    return float((gains * DISCOUNTS[: len(gains)]).sum() / (ideal * DISCOUNTS[: len(ideal)]).sum())


def scores(folder: Path, make: Callable[[], EmbeddingModel], options: Any) -> dict[str, float]:
    """Mean nDCG@10 by method."""
    corpus = read_lines(folder / "corpus.jsonl")
    grades: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")[:3]
        grades.setdefault(query, {})[document] = float(grade)
    asked = [
        row
        for row in read_lines(folder / "queries.jsonl")
        if row["id"] in grades and not row.get("is_impossible")
    ]
    if options.queries:
        asked = asked[:: max(1, len(asked) // options.queries)][: options.queries]
    texts = [text_of(row) for row in corpus]
    documents = embedded(make, texts, "document", options.vectors)
    questions = embedded(make, [row["text"] for row in asked], "query", options.vectors)
    index = BM25Index()
    index.add(range(len(texts)), texts)
    own = np.array([row.get("conversation", "") for row in corpus])
    ids = [row["id"] for row in corpus]
    total = dict.fromkeys(METHODS, 0.0)
    for row, question in zip(asked, questions, strict=True):
        mask = own == row.get("conversation", "")
        rows = np.flatnonzero(mask)
        similarities = documents[rows] @ question
        best = np.argsort(-similarities, kind="stable")[:DEPTH]
        lists = Lists(
            (rows[best], similarities[best]),
            index.search(row["text"], DEPTH, mask),
            len(rows),
            index.query_weight(row["text"]),
        )
        for method in METHODS:
            found = [ids[i] for i in lists.by(method)[:10]]
            total[method] += ndcg10(found, grades[row["id"]])
    return {method: value / len(asked) for method, value in total.items()}


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    models: list[EmbeddingModel] = []

    def make() -> EmbeddingModel:
        if not models:
            models.append(apply_embedding_model(options.model))
        return models[0]

    folders = [
        path.parent
        for path in sorted(options.data.glob("*/qrels.tsv"))
        if not options.sets or path.parent.name in options.sets
    ]
    print(f"nDCG@10, model {options.model}")
    print("set".ljust(14), *(method.rjust(10) for method in METHODS), "over better".rjust(12))
    rows = []
    for folder in folders:
        found = scores(folder, make, options)
        gain = found["auto"] - max(found["bm25"], found["dense"])
        cells = (f"{found[method]:.4f}".rjust(10) for method in METHODS)
        print(folder.name.ljust(14), *cells, f"{gain:+.4f}".rjust(12), flush=True)
        goal = GOALS.get(folder.name, (None, None)) if options.model == "minilm" else (None, None)
        rows.append(Row(folder.name, "auto, nDCG@10", [found["auto"]], *goal, at_least=True))
        rows.append(
            Row(folder.name, "auto - better single retriever", [gain], -0.002, at_least=True)
        )
    return rows


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--vectors", type=Path, help="keep vectors in this folder")
    parser.add_argument("--queries", type=int, default=0, help="at most so many per set; 0: all")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=1, arguments=options)
