"""The index against a reference that reads every document for every query."""

from __future__ import annotations

import math
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from rank_bm25 import BM25Okapi

from sage.common.errors import ConfigError
from sage.middleware.search import BM25Index
from sage.middleware.search.bm25.snapshot import SnapshotError

WORDS = [f"w{i}" for i in range(40)]


def reference(documents, query, k1=1.2, b=0.75):
    """Every positive score by definition: ``{slot: score}``."""
    n = len(documents)
    split = {slot: text.split() for slot, text in documents.items()}
    mean = sum(map(len, split.values())) / n if n else 0
    frequency = Counter(word for words in split.values() for word in set(words))
    out = {}
    for slot, words in split.items():
        counts, score = Counter(words), 0.0
        for word in query.split():
            if tf := counts[word]:
                idf = math.log(1 + (n - frequency[word] + 0.5) / (frequency[word] + 0.5))
                score += idf * tf / (tf + k1 * (1 - b + b * len(words) / mean))
        if score > 0:
            out[slot] = score
    return out


def assert_same(found, expected, topk):
    slots, scores = found
    best = sorted(expected.values(), reverse=True)[:topk]
    np.testing.assert_allclose(scores, best, rtol=2e-5)
    np.testing.assert_allclose([expected[int(slot)] for slot in slots], scores, rtol=2e-5)
    assert len(set(slots.tolist())) == len(slots)


texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
queries = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=6).map(" ".join)


class IndexMachine(RuleBasedStateMachine):
    """Any order of changes, seals, merges, saves and loads leaves the scores of a new index."""

    def __init__(self):
        super().__init__()
        self.index = BM25Index(language="none")
        self.documents = {}

    @rule(slot=st.integers(0, 500), text=texts)
    def add_one(self, slot, text):
        self.index.add([slot], [text])
        self.documents[slot] = text

    @rule(
        slots=st.lists(st.integers(0, 500), unique=True, min_size=130, max_size=180),
        seed=st.integers(0, 99),
    )
    def add_batch(self, slots, seed):
        rng = np.random.default_rng(seed)
        new = [" ".join(rng.choice(WORDS[: 1 + seed % 40], rng.integers(0, 30))) for _ in slots]
        self.index.add(slots, new)
        self.documents.update(zip(slots, new, strict=True))

    @precondition(lambda self: self.documents)
    @rule(data=st.data())
    def delete(self, data):
        slots = data.draw(st.lists(st.sampled_from(sorted(self.documents)), unique=True))
        assert self.index.delete([*slots, 777]) == len(slots)
        for slot in slots:
            del self.documents[slot]

    @rule()
    def optimize(self):
        self.index.optimize()
        assert self.index.stats()["segments"] <= 1

    @rule()
    def purge(self):
        self.index.purge()
        held = {word for text in self.documents.values() for word in text.split()}
        assert self.index.stats()["terms"] == len(held)

    @rule(folder=st.none())
    def save_and_load(self, folder, tmp=None):
        import tempfile

        with tempfile.TemporaryDirectory() as tmp:
            self.index.save(tmp)
            self.index = BM25Index.load(tmp)

    @rule(query=queries, topk=st.integers(1, 30))
    def search(self, query, topk):
        assert_same(self.index.search(query, topk), reference(self.documents, query), topk)

    @rule(query=queries, topk=st.integers(1, 30), seed=st.integers(0, 9), integers=st.booleans())
    def filtered(self, query, topk, seed, integers):
        mask = np.random.default_rng(seed).random(400) < 0.4
        expected = {
            slot: score
            for slot, score in reference(self.documents, query).items()
            if slot < 400 and mask[slot]
        }
        allowed = np.flatnonzero(mask) if integers else mask
        assert_same(self.index.search(query, topk, allowed), expected, topk)

    @invariant()
    def counts(self):
        assert len(self.index) == len(self.documents)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def zipf(n, words, seed=3):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 2001)
    vocabulary = np.array([f"v{i}" for i in range(2000)])
    return [" ".join(rng.choice(vocabulary, words, p=weights / weights.sum())) for _ in range(n)]


def test_pruning_and_large_masks_leave_the_exact_answer():
    documents = zipf(12_000, 20)
    index = BM25Index(language="none")
    index.add(range(12_000), documents)
    held = dict(enumerate(documents))
    mask = np.random.default_rng(0).random(12_000) < 0.5
    for query in ["v900 v0", "v1 v2 v3", "v0", "v50 v3 v0 v1", "v1500 v0 v0"]:
        expected = reference(held, query)
        assert_same(index.search(query, 10), expected, 10)
        assert_same(
            index.search(query, 10, mask), {s: x for s, x in expected.items() if mask[s]}, 10
        )


def test_equals_rank_bm25_where_the_formulas_agree():
    documents = zipf(300, 30)
    peer = BM25Okapi([text.split() for text in documents], k1=1.2, b=0.75)
    n = len(documents)
    frequency = Counter(word for text in documents for word in set(text.split()))
    # Okapi's idf turns negative for frequent words; the rest of the formula is the same up to the
    # constant factor k1 + 1.
    peer.idf = {w: math.log(1 + (n - f + 0.5) / (f + 0.5)) for w, f in frequency.items()}
    index = BM25Index(language="none")
    index.add(range(n), documents)
    for query in ["v3 v40 v7", "v0 v1", "v500 v600 v2"]:
        expected = peer.get_scores(query.split()) / 2.2
        slots, scores = index.search(query, 20)
        np.testing.assert_allclose(scores, np.sort(expected)[::-1][: len(scores)], rtol=2e-5)
        np.testing.assert_allclose(expected[slots], scores, rtol=2e-5)


def test_sealing_and_merging_change_no_score_by_a_bit():
    index = BM25Index(language="none")
    for slot, text in enumerate(zipf(1000, 15)):
        index.add([slot], [text])
    before = index.search("v1 v5 v9 v30", 50)
    index.optimize()
    after = index.search("v1 v5 v9 v30", 50)
    assert before[0].tolist() == after[0].tolist()
    assert before[1].tolist() == after[1].tolist()


def test_equal_scores_come_by_slot():
    index = BM25Index(language="none")
    index.add([9, 3, 7, 1], ["same text"] * 4)
    assert index.search("same", 3)[0].tolist() == [1, 3, 7]


def test_a_wrong_batch_changes_nothing():
    index = BM25Index(language="none")
    index.add([1], ["one"])
    for slots, contents in [([2, 2], ["a", "b"]), ([2], ["a", "b"]), ([2, -1], ["a", "b"])]:
        with pytest.raises(ConfigError):
            index.add(slots, contents)
    assert len(index) == 1
    assert index.search("a")[0].tolist() == []


@pytest.mark.parametrize("options", [{"k1": 0}, {"b": 1.5}, {"language": "klingon"}])
def test_bad_parameters_are_named(options):
    with pytest.raises(ConfigError, match=str(next(iter(options.values())))):
        BM25Index(**options)


def test_empty_queries_documents_and_indexes():
    index = BM25Index()
    assert index.search("anything")[0].tolist() == []
    index.add([0, 1], ["", "the words"])
    assert len(index) == 2
    assert index.search("")[0].tolist() == []
    assert index.search("the")[0].tolist() == []  # a stop word
    assert index.search("word")[0].tolist() == [1]
    index.delete([1])
    assert index.search("word")[0].tolist() == []


def test_damaged_missing_and_foreign_snapshots_are_refused(tmp_path):
    index = BM25Index(language="none")
    index.add(range(3), ["a b", "b c", "c d"])
    index.save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(SnapshotError):
            BM25Index.load(tmp_path)
        path.unlink()
        with pytest.raises(SnapshotError):
            BM25Index.load(tmp_path)
        path.write_bytes(whole)
    assert BM25Index.load(tmp_path).search("b")[0].tolist() == [0, 1]


def test_a_second_save_writes_sealed_segments_only_once(tmp_path):
    index = BM25Index(language="none")
    index.add(range(1000), zipf(1000, 10))
    index.save(tmp_path)
    large = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    written = large.stat().st_mtime_ns
    index.add([5000], ["v1 new"])
    index.save(tmp_path)
    assert large.stat().st_mtime_ns == written
    assert BM25Index.load(tmp_path).search("new")[0].tolist() == [5000]


def test_purged_words_are_nowhere_in_the_snapshot(tmp_path):
    index = BM25Index(language="none")
    index.add(range(200), [f"common word{i}" for i in range(200)])
    index.save(tmp_path)
    index.delete([17])
    index.purge()
    index.save(tmp_path)
    assert not any(b"word17\n" in path.read_bytes() + b"\n" for path in tmp_path.iterdir())
    assert any(b"word18\n" in path.read_bytes() for path in tmp_path.iterdir())


def test_readers_and_a_writer_share_an_index():
    documents = zipf(4000, 20)
    index = BM25Index(language="none")
    index.add(range(2000), documents[:2000])
    done, wrong = threading.Event(), []

    def read():
        while not done.is_set():
            slots, scores = index.search("v1 v2 v17", 10)
            if len(slots) != 10 or (np.diff(scores) > 0).any():
                wrong.append(slots)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for slot in range(2000, 4000):
        index.add([slot], [documents[slot]])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert_same(
        index.search("v1 v2 v17", 10), reference(dict(enumerate(documents)), "v1 v2 v17"), 10
    )


def test_the_language_is_found_and_earlier_documents_are_analysed_again():
    index = BM25Index()
    index.add([0], ["Häuser"])
    assert index.language == "en"
    index.add(
        [1], ["Die Verteidigung der Stadt war nicht so stark, und das ist die ganze Wahrheit"]
    )
    assert index.language == "de"
    assert index.search("Haus")[0].tolist() == [0]
    index.delete([0])
    assert index.search("Haus")[0].tolist() == []
