import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.reranker import (
    LightReranker,
    LostInTheMiddleReranker,
    MMRReranker,
    ScoreThreshold,
)
from sage.lib.rag.retriever import BM25Retriever
from sage.lib.types import Document, Query, Retrieved


def item(*scores, texts=None, question="who"):
    passages = tuple(
        Document(id=str(n), text=texts[n] if texts else f"text {n}", score=score)
        for n, score in enumerate(scores)
    )
    return Retrieved(query=Query(text=question, id="q", answers=("a",)), passages=passages)


def ids(retrieved):
    return [d.id for d in retrieved.passages]


def test_threshold_absolute_relative_and_both(run_step):
    given = item(0.9, 0.5, 0.2)
    for config, expected in [
        ({"threshold": 0.5}, ["0", "1"]),
        ({"relative": 0.5}, ["0", "1"]),
        ({"threshold": 0.1, "relative": 0.6}, ["0"]),
        ({"threshold": 2.0}, []),
        ({"threshold": 2.0, "keep": 2}, ["0", "1"]),
        ({"threshold": 0.1, "top_k": 1}, ["0"]),
    ]:
        (out,) = run_step(ScoreThreshold(config), given)
        assert ids(out) == expected, config
        assert out.query == given.query


def test_threshold_of_negative_and_missing_scores(run_step):
    (out,) = run_step(ScoreThreshold({"relative": 0.5}), item(-1.0, -4.0))
    assert ids(out) == ["0", "1"]
    for unscored, expected in [("keep", ["0", "1"]), ("drop", ["0"])]:
        (out,) = run_step(ScoreThreshold({"threshold": 1, "unscored": unscored}), item(3.0, None))
        assert ids(out) == expected
    with pytest.raises(ItemError, match="no score"):
        run_step(ScoreThreshold({"threshold": 1}), item(3.0, None))
    with pytest.raises(ConfigError, match="threshold or relative"):
        ScoreThreshold({})


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, ["0"]), (2, ["0", "1"]), (5, list("02431")), (6, list("024531"))],
)
def test_the_weakest_go_to_the_middle(count, expected, run_step):
    given = item(*[1 - n / 10 for n in range(count)])
    (out,) = run_step(LostInTheMiddleReranker(), given)
    assert ids(out) == expected
    (last,) = run_step(LostInTheMiddleReranker({"best": "last"}), given)
    assert ids(last) == expected[::-1]
    assert {d.id: d.score for d in out.passages} == {d.id: d.score for d in given.passages}


def test_the_weakest_are_dropped_before_the_middle_is_filled(run_step):
    (out,) = run_step(LostInTheMiddleReranker({"top_k": 3}), item(5, 4, 3, 2))
    assert ids(out) == ["0", "2", "1"]


TEXTS = [
    "The capital of France is Paris, a city on the Seine.",
    "Paris, a city on the Seine, is the capital of France.",
    "Lyon is famous for its kitchens.",
]


@pytest.mark.parametrize("embed", [None, lambda text: [text.count("Paris"), text.count("Lyon")]])
def test_mmr_prefers_what_is_new(embed, run_step):
    given = item(0.9, 0.89, 0.5, texts=TEXTS)
    (out,) = run_step(MMRReranker({"balance": 0.5, "embed": embed}), given)
    assert ids(out) == ["0", "2", "1"]
    (relevant,) = run_step(MMRReranker({"balance": 1.0, "embed": embed, "top_k": 2}), given)
    assert ids(relevant) == ["0", "1"]
    assert [d.score for d in relevant.passages] == [0.9, 0.89]


def test_light_reranker_finds_the_words_of_the_question(run_step):
    texts = [
        "Rivers carry water to the sea and shape valleys.",
        "The length of the Nile: the river Nile is 6,650 kilometres long.",
        "Long rivers are long.",
    ]
    given = item(0.52, 0.50, 0.49, texts=texts, question="How long is the river Nile?")
    (out,) = run_step(LightReranker({"keep": 0.3}), given)
    assert ids(out)[0] == "1"
    assert out.passages[0].metadata["retrieval_score"] == 0.50
    scores = [d.score for d in out.passages]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0 and scores[0] <= 1


def test_light_reranker_with_all_weight_on_the_old_score_changes_nothing(run_step):
    given = item(0.9, 0.5, 0.2, texts=TEXTS, question="Lyon kitchens")
    (out,) = run_step(LightReranker({"keep": 1.0}), given)
    assert ids(out) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("question", "texts"),
    [
        ("黑豹队的防守丢了多少分", ["天气很好。", "黑豹队的防守只丢了308分。"]),
        ("Wie viele Punkte gab er ab?", ["Es regnet.", "Er gab 308 Punkte ab."]),
    ],
)  # fmt: skip
def test_light_reranker_in_other_languages(question, texts, run_step):
    (out,) = run_step(LightReranker({"keep": 0.2}), item(0.5, 0.4, texts=texts, question=question))
    assert ids(out) == ["1", "0"]


@pytest.mark.parametrize("cls", [LightReranker, MMRReranker, LostInTheMiddleReranker])
def test_empty_texts_and_no_words_are_fine(cls, run_step):
    (out,) = run_step(cls(), item(None, None, texts=["", "!?"], question="…"))
    assert sorted(ids(out)) == ["0", "1"]
    (none,) = run_step(cls(), "a bare question")
    assert none.passages == ()


def test_rerankers_in_a_job_by_their_registered_names():
    sink = MemorySink()
    env = LocalEnvironment("rerank")
    (
        env.from_collection(["river Nile", "capital of France"])
        .map(BM25Retriever, {"documents": [*TEXTS, "The Nile is a river."], "top_k": 4})
        .map("LightReranker", {"top_k": 3})
        .map("MMRReranker", {})
        .map("ScoreThreshold", {"relative": 0.1})
        .map("LostInTheMiddleReranker", {})
        .sink(sink)
    )
    env.submit().wait()
    first, second = sink.items
    assert first.passages[0].text == "The Nile is a river."
    assert "Paris" in second.passages[0].text
