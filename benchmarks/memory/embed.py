"""How good and how fast the offline embedding models are, on open retrieval data.

    python -m benchmarks.memory.embed --data DIR [--models hash minilm] [--sets cranfield ...]
                                      [--queries 500] [--no-quality]

``DIR`` holds one folder per data set with ``corpus.jsonl`` (id, title, text),
``queries.jsonl`` (id, text) and ``qrels.tsv`` (query, document, grade). Per model: nDCG@10 of
exact cosine search, over at most ``--queries`` queries, evenly spaced; seconds to load; then, for
texts of 100 to 180 characters, CPU milliseconds and median wall milliseconds of one at a time,
and CPU milliseconds of 32 at a time. The cache is off.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.utils.embedding import EmbeddingModel, apply_embedding_model

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "hash": ("hash", {}),
    "hash-384": ("hash", {"dim": 384}),
    "hash-1024": ("hash", {"dim": 1024}),
    "minilm": ("minilm", {}),
    "minilm-int8": ("minilm", {"precision": "int8"}),
}
HEADS = ("load, s", "one at a time, cpu ms", "one at a time, ms p50", "32 at a time, cpu ms each")
DISCOUNTS = 1 / np.log2(np.arange(2, 12))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_grades(path: Path) -> dict[str, dict[str, float]]:
    """Grades by query and document."""
    grades: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")[:3]
        grades.setdefault(query, {})[document] = float(grade)
    return grades


def ndcg10(model: EmbeddingModel, folder: Path, most: int) -> float:
    """Mean nDCG@10 over the judged queries."""
    corpus = read_lines(folder / "corpus.jsonl")
    grades = read_grades(folder / "qrels.tsv")
    judged = [row for row in read_lines(folder / "queries.jsonl") if row["id"] in grades]
    judged = judged[:: max(1, len(judged) // most)][:most]
    texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in corpus]
    documents = model.embed_many(texts)
    questions = model.embed_many([row["text"] for row in judged], kind="query")
    total = 0.0
    for row, scores in zip(judged, questions @ documents.T, strict=True):
        known = grades[row["id"]]
        best = np.argsort(-scores, kind="stable")[:10]
        gains = np.array([known.get(corpus[i]["id"], 0.0) for i in best])
        ideal = np.array(sorted(known.values(), reverse=True)[:10])
        total += (gains @ DISCOUNTS[: len(gains)]) / (ideal @ DISCOUNTS[: len(ideal)])
    return total / len(judged)


def speed(model: EmbeddingModel, texts: list[str]) -> tuple[float, float, float]:
    """CPU ms per text alone, its wall p50 ms, CPU ms per text 32 at a time."""
    model.embed_many(texts[:32])
    walls, start = [], time.process_time()
    for text in texts[:100]:
        before = time.perf_counter()
        model.embed(text)
        walls.append(time.perf_counter() - before)
    alone = (time.process_time() - start) / 100
    start = time.process_time()
    model.embed_many(texts[:320])
    return alone * 1e3, float(np.median(walls)) * 1e3, (time.process_time() - start) / 320 * 1e3


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    sentences = [
        sentence.strip()
        for row in read_lines(options.data / options.sets[0] / "corpus.jsonl")
        for sentence in row["text"].split(" . ")
        if 100 <= len(sentence) <= 180
    ][:400]
    rows = []
    for label in options.models:
        name, settings = MODELS[label]
        start = time.perf_counter()
        with apply_embedding_model(name, cache_bytes=0, **settings) as model:
            loaded = time.perf_counter() - start
            cells = (loaded, *speed(model, sentences))
            for head, value in zip(HEADS, cells, strict=True):
                rows.append(Row(label, head, [value]))
            for one in () if options.no_quality else options.sets:
                value = ndcg10(model, options.data / one, options.queries)
                rows.append(Row(label, f"{one}, nDCG@10", [value], at_least=True))
    return rows


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument(
        "--sets", nargs="+", default=["cranfield", "squad2", "xquad_de", "xquad_zh"]
    )
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--no-quality", action="store_true")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=1, arguments=options)
