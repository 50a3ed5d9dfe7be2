"""MultiQueryRetriever and HyDERetriever: retrievers that ask a model first."""

import asyncio

import numpy as np
import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, ModelError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.retriever import HyDERetriever, MultiQueryRetriever
from sage.lib.rag.retriever.queries import lexical_queries, read_queries
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.model_server import ModelServer
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

TEXTS = [
    "The stream of Egypt is 6,650 km from spring to mouth.",
    "Length is measured in metres.",
    "A crash of the market.",
    "Rivers of the world by name: Amazon, Rhine, Volga.",
]
IDS = ["nile", "metre", "crash", "rivers"]


def embed(text):
    return np.array([text.lower().count(w) + 0.01 for w in ("egypt", "length", "crash", "rivers")])


@pytest.fixture
def own():
    return {"documents": TEXTS, "ids": IDS, "embed": embed, "top_k": 2, "max_retries": 0}


@pytest.fixture
def stored(tmp_path):
    with MemoryManager(tmp_path) as manager:
        made = manager.create_collection("facts", embedding_model=apply_embedding_model("hash"))
        made.insert_many(TEXTS, [{"n": n} for n in range(4)], ids=IDS)
    return {"collection_name": "facts", "data_dir": str(tmp_path), "top_k": 2}


def find(context, retriever, item):
    async def run():
        ctx = context()
        retriever.open(ctx)
        try:
            return await retriever.execute(item), ctx._counters
        finally:
            retriever.close()

    return asyncio.run(run())


QUESTION = "What length has the Nile?"


def test_rewritten_questions_find_what_the_question_does_not(context, own):
    reply = "1. How long is the stream of Egypt?\n- spring to mouth, Egypt\n"
    for mode in ("bm25", "hybrid"):
        with ModelServer(answer=lambda request: reply) as server:
            config = {**own, "mode": mode, "model": "m", "base_url": server.url}
            found, counted = find(context, MultiQueryRetriever(config), QUESTION)
        assert {d.id for d in found.passages} == {"nile", "metre"}
        assert found.query.metadata["rewrites"] == [
            "How long is the stream of Egypt?", "spring to mouth, Egypt"
        ]  # fmt: skip
        assert found.query.text == QUESTION and counted["model_calls"] == 1
        assert all(0 < d.score <= 1 for d in found.passages)


def test_lists_are_joined_by_weighted_reciprocal_rank(context, own):
    with ModelServer(answer=lambda request: "Egypt") as server:
        config = {**own, "mode": "bm25", "model": "m", "base_url": server.url, "rrf_k": 10}
        retriever = MultiQueryRetriever({**config, "original_weight": 3.0})
        found, _ = find(context, retriever, "length")
    assert {d.id: d.score for d in found.passages} == pytest.approx({"metre": 0.75, "nile": 0.25})


def test_a_reply_without_questions_is_counted_and_the_question_searched(context, own):
    with ModelServer(answer=lambda request: "Here you go:\n\n") as server:
        config = {**own, "mode": "bm25", "model": "m", "base_url": server.url}
        found, counted = find(context, MultiQueryRetriever(config), QUESTION)
    assert [d.id for d in found.passages] == ["metre"] and counted["malformed"] == 1


def test_without_a_model_rules_rewrite(context, own, stored):
    for config in (own, stored):
        retriever = MultiQueryRetriever({**config, "mode": "bm25"})
        found, _ = find(context, retriever, "Which market had a crash, and is length in metres?")
        assert {d.id for d in found.passages} == {"crash", "metre"}
        assert found.query.metadata["rewrites"][0] == "market crash length metres"


def test_filters_hold_for_every_version(context, stored):
    config = {**stored, "mode": "bm25", "where": {"n": {"$lt": 3}}}
    item = {"question": "rivers, crash, length in metres", "where": {"n": {"$ne": 2}}}
    found, _ = find(context, MultiQueryRetriever(config), item)
    assert {d.id for d in found.passages} == {"metre"}


@pytest.mark.parametrize("cls", [MultiQueryRetriever, HyDERetriever])
def test_a_failing_model_is_an_error(cls, context, own):
    with ModelServer(faults=["401"]) as server, pytest.raises(ModelError) as caught:
        find(context, cls({**own, "model": "m", "base_url": server.url}), QUESTION)
    assert caught.value.status == 401 and cls.effect is True


@pytest.mark.parametrize("combine", ["auto", "mean", "lists"])
def test_hyde_finds_what_the_imagined_passage_is_like(context, own, combine):
    with ModelServer(answer=lambda request: "Egypt, Egypt, the land of Egypt.") as server:
        config = {**own, "model": "m", "base_url": server.url, "combine": combine}
        found, _ = find(context, HyDERetriever(config), QUESTION)
        only, _ = find(context, HyDERetriever({**config, "include_question": False}), QUESTION)
    assert "nile" in {d.id for d in found.passages}
    assert only.passages[0].id == "nile"
    assert found.query.metadata["hypothetical"] == ["Egypt, Egypt, the land of Egypt."]
    assert found.query.text == QUESTION


def test_hyde_searches_with_the_mean_of_all_directions(context, own):
    replies = iter(["Egypt", "crash"])
    with ModelServer(answer=lambda request: next(replies)) as server:
        config = {"model": "m", "base_url": server.url, "passages": 2, "temperature": 0.7}
        found, counted = find(context, HyDERetriever({**own, **config, "top_k": 4}), "length")
    unit = [v / np.linalg.norm(v) for v in map(embed, ("Egypt", "crash", "length"))]
    mean = np.mean(unit, axis=0)
    expected = {
        name: float(mean @ embed(text) / np.linalg.norm(mean) / np.linalg.norm(embed(text)))
        for name, text in zip(IDS, TEXTS, strict=True)
    }
    assert {d.id: d.score for d in found.passages} == pytest.approx(expected, abs=1e-5)
    assert counted["model_calls"] == 2


def test_hyde_over_a_collection(context, stored):
    with ModelServer(answer=lambda request: TEXTS[0]) as server:
        config = {**stored, "model": "m", "base_url": server.url}
        lists, _ = find(context, HyDERetriever(config), "length of the Nile")
        mean, _ = find(context, HyDERetriever({**config, "embed": "hash"}), "length of the Nile")
        hybrid, _ = find(
            context, HyDERetriever({**config, "embed": "hash", "mode": "hybrid"}), "the Nile"
        )
    assert "nile" in {d.id for d in lists.passages}
    assert mean.passages[0].id == hybrid.passages[0].id == "nile"


def test_hyde_settings_are_checked(own, stored):
    for bad, message in [
        (own, "needs model"),
        ({**own, "model": "m", "passages": 2}, "temperature"),
        ({**stored, "model": "m", "combine": "mean"}, "embed"),
        ({**own, "model": "m", "combine": "mean", "mode": "bm25"}, "mode"),
    ]:
        with pytest.raises(ConfigError, match=message):
            HyDERetriever(bad)


def test_in_a_job_by_registered_name(stored):
    sink = MemorySink()
    with ModelServer(answer=lambda request: TEXTS[2], latency=0.01) as server:
        env = LocalEnvironment("asking")
        config = {**stored, "model": "m", "base_url": server.url, "top_k": 1}
        env.from_collection([f"stock exchange {n}" for n in range(8)]).map(
            "HyDERetriever", {**config, "include_question": False}, concurrency=4
        ).map("MultiQueryRetriever", {**config, "original_weight": 0.0}, concurrency=4).sink(sink)
        env.submit().wait()
    assert [found.passages[0].id for found in sink.items] == ["crash"] * 8


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("1. a b\n2) c d\n- e f", ["a b", "c d"]), ('["x y", "z"]', ["x y", "z"]),
        ("Sure, here are some:\n\"who is it\"", ["who is it"]), ("same?\nSAME\nother", ["other"]),
        ("```json\n[\"p q\"]\n```", ["p q"]), ("x" * 600, []), ("", []),
        ("<think>not this</think>this one", ["this one"]), ("* 3 wishes", ["3 wishes"]),
    ],
)  # fmt: skip
def test_reading_rewritten_questions(reply, expected):
    assert read_queries(reply, "same", 2) == expected


def test_rules_never_repeat_the_question():
    assert lexical_queries("market crash", "market crash", 3) == []
    found = lexical_queries("Who led the Denver Broncos in 2015?", "led denver broncos 2015", 3)
    assert found == ["led denver broncos 2015", "Denver Broncos 2015"]
