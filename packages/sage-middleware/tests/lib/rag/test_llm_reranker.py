import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, ModelError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.reranker import LLMbasedReranker
from sage.lib.rag.reranker.verdicts import read_grade, read_order
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.testing.model_server import ModelServer, content_of


def item(count, question="Which is last?"):
    passages = tuple(
        Document(id=str(n), text=f"value {n}", score=1 - n / 100) for n in range(count)
    )
    return Retrieved(query=Query(text=question), passages=passages)


def rerank(context, config, given):
    async def run():
        ctx = context()
        reranker = LLMbasedReranker({"model": "m", "max_retries": 0, **config})
        reranker.open(ctx)
        try:
            return await reranker.execute(given), ctx._counters
        finally:
            reranker.close()

    return asyncio.run(run())


def values(request):
    return [int(n) for n in re.findall(r"value (\d+)", content_of(request["messages"][-1]))]


def largest_first(request):
    shown = values(request)
    order = sorted(range(len(shown)), key=lambda n: -shown[n])
    return f"Best first: {[n + 1 for n in order]}"


def test_listwise_orders_by_what_the_model_says(context):
    with ModelServer(answer=largest_first) as server:
        out, counted = rerank(context, {"base_url": server.url, "top_k": 3}, item(5))
    assert [d.id for d in out.passages] == ["4", "3", "2"]
    assert [d.score for d in out.passages] == pytest.approx([1.0, 0.8, 0.6])
    assert out.passages[0].metadata["retrieval_score"] == pytest.approx(0.96)
    assert counted["model_calls"] == 1 and counted["input_tokens"] > 0
    assert server.calls[0].request["temperature"] == 0


def test_windows_bring_the_best_from_the_back_to_the_front(context):
    with ModelServer(answer=largest_first) as server:
        config = {"base_url": server.url, "window": 4, "step": 2, "top_k": 2}
        out, _ = rerank(context, config, item(11))
    assert [d.id for d in out.passages] == ["10", "9"]
    assert max(len(values(call.request)) for call in server.calls) == 4


def test_pointwise_grades_every_passage(context):
    def grade(request):
        return f"Score: {values(request)[0]}/10"

    with ModelServer(answer=grade) as server:
        config = {"base_url": server.url, "mode": "pointwise"}
        out, counted = rerank(context, config, item(4))
    assert [(d.id, d.score) for d in out.passages] == [("3", 0.3), ("2", 0.2), ("1", 0.1), ("0", 0)]
    assert counted["model_calls"] == 4


@pytest.mark.parametrize("mode", ["listwise", "pointwise"])
def test_malformed_replies_keep_the_order_and_are_counted(context, mode):
    with ModelServer(answer=lambda request: "As an assistant I like all of them.") as server:
        config = {"base_url": server.url, "mode": mode, "top_k": 2}
        out, counted = rerank(context, config, item(3))
    assert out.passages == item(3).passages[:2]
    assert counted["malformed"] == (1 if mode == "listwise" else 3)


@pytest.mark.parametrize("mode", ["listwise", "pointwise"])
def test_a_failing_model_is_an_error_and_not_an_order(context, mode):
    with ModelServer(faults=["400"] * 3) as server, pytest.raises(ModelError) as caught:
        rerank(context, {"base_url": server.url, "mode": mode}, item(3))
    assert caught.value.status == 400


def test_an_item_without_passages_costs_no_call(context):
    with ModelServer() as server:
        out, _ = rerank(context, {"base_url": server.url}, item(0))
    assert out.passages == () and server.count == 0


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="model"):
        LLMbasedReranker({})
    with pytest.raises(ConfigError, match="never be judged"):
        LLMbasedReranker({"model": "m", "window": 2, "step": 3})
    assert LLMbasedReranker.effect is True


def test_in_a_job_with_calls_in_flight():
    sink = MemorySink()
    with ModelServer(answer=largest_first, latency=0.01) as server:
        env = LocalEnvironment("rerank")
        env.from_collection([item(3, f"question {n}") for n in range(12)]).map(
            LLMbasedReranker, {"model": "m", "base_url": server.url}, concurrency=6
        ).sink(sink)
        env.submit().wait()
        assert server.max_in_flight > 1
    assert {found.query.text for found in sink.items} == {f"question {n}" for n in range(12)}
    assert all([d.id for d in found.passages] == ["2", "1", "0"] for found in sink.items)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("7", 0.7), ("Score: 7.5", 0.75), ("8/10", 0.8), ("**8** out of 10", None), ("10.", 1.0),
        ("Relevance: 8 out of 10", 0.8), ("[3]", 0.3), ("<think>maybe 3 or 4</think> 9", 0.9),
        ("7 or 8", None), ("11", None), ("-3", None), ("70%", None), ("4/5", None), ("", None),
        ("none", None), ("7,5", None), ("7. The answer is 7", 0.7),
    ],
)  # fmt: skip
def test_grades(reply, expected):
    found = read_grade(reply)
    assert found is None if expected is None else found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("[2, 3, 1]", [1, 2, 0]), ("2 > 3 > 1", [1, 2, 0]), ("[2] > [3] > [1]", [1, 2, 0]),
        ("[3]", [2, 0, 1]), ("3", [2, 0, 1]), ("2\n3\n1", [1, 2, 0]), ("[2, 2, 1]", [1, 0, 2]),
        ("In [1, 2] it says.\nMy order: [3, 1]", [2, 0, 1]), ("[4, 1]", None), ("[0, 1]", None),
        ("The second one", None), ("", None), ("<think>[1, 2, 3]</think>[3, 2, 1]", [2, 1, 0]),
    ],
)  # fmt: skip
def test_orders(reply, expected):
    assert read_order(reply, 3) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]0123456789,> .\nab/", max_size=60), st.integers(1, 30))
def test_whatever_a_model_says_is_an_order_of_all_passages_or_nothing(reply, count):
    order = read_order(reply, count)
    assert order is None or sorted(order) == list(range(count))
    grade = read_grade(reply)
    assert grade is None or 0 <= grade <= 1
