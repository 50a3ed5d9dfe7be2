import numpy as np
import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.retriever import BM25Retriever, DenseRetriever, HybridRetriever
from sage.lib.types import Document, Query
from sage.middleware.services.memory.errors import FilterError
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

DOCUMENTS = [
    Document(id=str(n), text=text, metadata={"year": 2000 + n, "tags": ["even", "odd"][n % 2]})
    for n, text in enumerate(
        [
            "The Nile flows north through Egypt.",
            "Checkpoints make a job survive a crash.",
            "A crash of the market ruined many banks.",
            "The Amazon carries more water than any other river.",
            "Savepoints are checkpoints a user asked for.",
        ]
    )
]


def embed(text):
    return np.array([text.count(letter) + 0.01 for letter in "aeiouncr"], np.float32)


@pytest.fixture
def own():
    return {"documents": DOCUMENTS, "embed": embed, "top_k": 5}


@pytest.fixture
def stored(tmp_path):
    with MemoryManager(tmp_path) as manager:
        made = manager.create_collection("facts", embedding_model=apply_embedding_model("hash"))
        made.insert_many(
            [d.text for d in DOCUMENTS],
            [dict(d.metadata) for d in DOCUMENTS],
            ids=[d.id for d in DOCUMENTS],
        )
    return {"collection_name": "facts", "data_dir": str(tmp_path), "top_k": 5}


def found_by(run_step, retriever, question="checkpoints and a crash"):
    (found,) = run_step(retriever, question)
    return {d.id: d.score for d in found.passages}


def test_convex_is_the_weighted_sum_of_scaled_scores(own, run_step):
    def scaled(scores):
        low, high = min(scores.values()), max(scores.values())
        return {k: (v - low) / (high - low) for k, v in scores.items()}

    dense = scaled(found_by(run_step, DenseRetriever(own)))
    words = scaled(found_by(run_step, BM25Retriever(own)))
    hybrid = found_by(run_step, HybridRetriever({**own, "fusion": "convex", "weight": 0.3}))
    expected = {k: 0.3 * dense.get(k, 0) + 0.7 * words.get(k, 0) for k in dense}
    assert hybrid == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [60, 10])
def test_rrf_sums_reciprocal_ranks(own, stored, run_step, k):
    for config in (own, stored):
        dense = list(found_by(run_step, DenseRetriever(config)))
        words = list(found_by(run_step, BM25Retriever(config)))
        hybrid = found_by(run_step, HybridRetriever({**config, "fusion": "rrf", "rrf_k": k}))
        expected = {
            name: sum(0.5 / (k + 1 + side.index(name)) for side in (dense, words) if name in side)
            for name in hybrid
        }
        assert hybrid == pytest.approx(expected, abs=1e-5)


def test_auto_is_the_default_and_a_weight_of_one_is_dense(own, stored, run_step):
    for config in (own, stored):
        assert HybridRetriever(config).config.fusion == "auto"
        fused = found_by(run_step, HybridRetriever(config))
        assert max(fused.values()) <= 1 and min(fused.values()) >= 0
        dense = list(found_by(run_step, DenseRetriever({**config, "top_k": 2})))
        only = found_by(run_step, HybridRetriever({**config, "weight": 1.0, "top_k": 2}))
        assert list(only) == dense


@pytest.mark.parametrize("bad", [{"fusion": "sum"}, {"weight": 1.5}, {"rrf_k": 0}, {"depth": 0}])
def test_fusion_settings_are_checked(own, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        HybridRetriever({**own, **bad})


@pytest.mark.parametrize("cls", [DenseRetriever, BM25Retriever, HybridRetriever])
def test_filters_are_applied_before_the_search(cls, own, stored, run_step):
    where = {"$or": [{"year": {"$gte": 2003}}, {"tags": "even"}], "year": {"$ne": 2004}}
    for config in (own, stored):
        retriever = cls({**config, "where": where, "top_k": 2})
        found = found_by(run_step, retriever, "crash river Nile banks")
        assert set(found) <= {"0", "2", "3"} and len(found) == 2


@pytest.mark.parametrize("cls", [DenseRetriever, BM25Retriever, HybridRetriever])
def test_a_question_narrows_the_filter_but_never_widens_it(cls, own, stored, run_step):
    for config in (own, stored):
        retriever = cls({**config, "where": {"year": {"$lt": 2003}}})
        asked = {"question": "crash river Nile", "where": {"tags": "even"}}
        wider = Query(text="crash river Amazon water", metadata={"where": {"year": {"$gte": 2000}}})
        narrow, wide = run_step(retriever, asked, wider)
        assert {d.id for d in narrow.passages} == {"0", "2"}
        assert {d.id for d in wide.passages} <= {"0", "1", "2"}


def test_a_filter_of_a_question_can_be_read_elsewhere_or_not_at_all(own, run_step):
    item = {"question": "crash", "where": {"year": 1900}, "scope": {"year": 2001}}
    assert set(found_by(run_step, BM25Retriever({**own, "where_key": None}), item)) == {"1", "2"}
    assert set(found_by(run_step, BM25Retriever({**own, "where_key": "scope"}), item)) == {"1"}


def test_broken_filters_are_errors(own, run_step):
    with pytest.raises(ItemError, match="must be a mapping"):
        run_step(BM25Retriever(own), {"question": "crash", "where": "year = 2000"})
    with pytest.raises(FilterError, match="near"):
        run_step(BM25Retriever({**own, "where": {"year": {"$near": 3}}}), "crash")


def test_hybrid_search_inside_a_job_through_the_memory_service(stored):
    sink = MemorySink()
    env = LocalEnvironment("hybrid", config={})
    env.set_memory({"data_dir": stored["data_dir"]})
    env.from_collection(["the Nile in Egypt", "savepoints"]).map(
        HybridRetriever, {"collection_name": "facts", "top_k": 1}
    ).sink(sink)
    env.submit().wait()
    assert [found.passages[0].id for found in sink.items] == ["0", "4"]
