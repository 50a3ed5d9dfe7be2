"""Our BM25 index against rank-bm25 and tantivy, in one run.

    python -m benchmarks.memory.bm25                        # 100,000 documents of 80 words
    python -m benchmarks.memory.bm25 --documents 10000 --rounds 3

Words are drawn as 1/rank^1.05 from 50,000; a query is two to five words of one document. Every
answer of ours is compared with scores computed by definition. rank-bm25 is asked fewer queries, as
each takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.search.bm25 import BM25Index, text_engine

SYLLABLES = [c + v for c in "bcdfghjklmnprstvz" for v in "aeiou"]


def vocabulary(size: int) -> np.ndarray:
    """Distinct words of two to four syllables."""
    rng, words = np.random.default_rng(99), {}
    while len(words) < size:
        words["".join(rng.choice(SYLLABLES, rng.integers(2, 5)))] = None
    return np.array(list(words))


def corpus(documents: int, seed: int = 21) -> list[str]:
    """Texts of about 80 words."""
    rng, words = np.random.default_rng(seed), vocabulary(50_000)
    shares = np.cumsum(1 / np.arange(1, len(words) + 1) ** 1.05)
    lengths = np.clip(rng.normal(80, 20, documents).astype(int), 5, None)
    picks = np.searchsorted(shares / shares[-1], rng.random(lengths.sum()))
    drawn = words[np.minimum(picks, len(words) - 1)]
    return [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def queries(texts: Sequence[str], count: int) -> list[str]:
    """Two to five words of one document, the thirty most frequent words left out."""
    rng, common, out = np.random.default_rng(22), set(vocabulary(50_000)[:30].tolist()), []
    while len(out) < count:
        text = texts[rng.integers(0, len(texts))]
        words = [word for word in dict.fromkeys(text.split()) if word not in common]
        if len(words) >= 5:
            out.append(" ".join(rng.permutation(words)[: rng.integers(2, 6)]))
    return out


def exact(texts: Sequence[str], asked: Sequence[str]) -> list[np.ndarray]:
    """The ten best scores of each query, by definition."""
    split = [text.split() for text in texts]
    lengths = np.array([len(words) for words in split], np.float64)
    wanted = {word for query in asked for word in query.split()}
    postings: dict[str, list[tuple[int, int]]] = {word: [] for word in wanted}
    for slot, words in enumerate(split):
        for word, count in Counter(words).items():
            if word in wanted:
                postings[word].append((slot, count))
    norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
    out = []
    for query in asked:
        scores = np.zeros(len(texts))
        for word in query.split():
            table = np.array(postings[word])
            idf = math.log(1 + (len(texts) - len(table) + 0.5) / (len(table) + 0.5))
            scores[table[:, 0]] += idf * table[:, 1] / (table[:, 1] + norm[table[:, 0]])
        out.append(np.sort(scores)[::-1][:10])
    return out


def median_ms(call: Callable[[Any], Any], arguments: Sequence[Any]) -> float:
    """Median milliseconds of one call."""
    times = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e3


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    texts = corpus(options.documents)
    asked = queries(texts, 300)
    begin = time.perf_counter()
    ours = BM25Index(language="none")
    ours.add(range(len(texts)), texts)
    built = time.perf_counter() - begin
    for query, expected in zip(asked[:100], exact(texts, asked[:100]), strict=True):
        np.testing.assert_allclose(ours.search(query)[1], expected[expected > 0], rtol=2e-5)
    peers = {name: text_engine(name, language="none") for name in options.peers}
    for peer in peers.values():
        peer.add(range(len(texts)), texts)
        peer.search(asked[0])
    mine: list[float] = []
    after, add, folded = [], [], []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        mine.append(median_ms(ours.search, asked))
        for name, peer in peers.items():
            some = asked[:15] if name == "rank-bm25" else asked
            theirs[name].append(median_ms(peer.search, some))
    mask = np.random.default_rng(0).random(len(texts)) < 0.5
    folded = [median_ms(lambda q: ours.search(q, 10, mask), asked) for _ in range(options.rounds)]
    slot = len(texts)
    for _ in range(options.rounds):
        new = [(slot + i, texts[i]) for i in range(100)]
        slot += 100
        add.append(median_ms(lambda pair: ours.add([pair[0]], [pair[1]]), new))
        after.append(median_ms(ours.search, asked))
    rows = [
        Row("BM25", "query, ms p50", mine, 1.0, 0.25, note="exact: 100 answers checked"),
        Row("BM25", "query with half of the documents allowed, ms p50", folded),
        Row("BM25", "add one document, ms p50", add, 1.0, 0.1),
        Row("BM25", "query with unsealed documents, ms p50", after, 1.0),
        Row("BM25", "index all, s", [built]),
    ]
    for name, times in theirs.items():
        rows.append(Row(name, "query, ms p50", times))
        ratio = [peer / own for peer, own in zip(times, mine, strict=True)]
        goal = (100.0, 600.0) if name == "rank-bm25" else (None, 1.0)
        rows.append(Row("BM25", f"times faster than {name}", ratio, *goal, at_least=True))
    return rows


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--peers", nargs="*", default=["rank-bm25", "tantivy"])


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=3, arguments=options)
