import asyncio

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, ModelError, TaskFailedError
from sage.lib.errors import ItemError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.types import Document, Query, Retrieved

PRICES = {"m": {"input": 1.0, "output": 2.0}}


def ask(context, config, item):
    async def run():
        generator = OpenAIGenerator(config)
        generator.open(context())
        try:
            return await generator.execute(item)
        finally:
            generator.close()

    return asyncio.run(run())


def test_an_answer_keeps_its_whole_history(server, context):
    passage = Document(id="d", text="Paris is the capital of France.")
    query = Query(text="What is the capital of France?", id="1", answers=("Paris",))
    prompt = QAPromptor().execute(Retrieved(query=query, passages=(passage,)))
    config = {"model": "m", "base_url": server.url, "temperature": 0.7, "max_tokens": 500}
    answer = ask(context, {**config, "prices": PRICES}, prompt)
    assert answer.text.endswith("Paris is the capital of France.")
    assert (answer.query, answer.passages, answer.prompt) == (query, (passage,), prompt)
    assert (answer.model, answer.finish_reason) == ("m", "stop")
    usage = answer.usage
    assert answer.cost == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)
    sent = server.calls[0].request
    assert sent["messages"] == [{"role": "user", "content": prompt.messages[0].content}]
    assert (sent["temperature"], sent["max_tokens"]) == (0.7, 500)
    assert "seed" not in sent


def test_unknown_prices_are_no_cost_and_extra_fields_are_sent(server, context):
    config = {
        "model": "other",
        "base_url": server.url,
        "prices": PRICES,
        "seed": 3,
        "extra": {"logit_bias": {"5": 1}},
        "max_tokens": 5,
        "max_tokens_field": "max_completion_tokens",
    }
    answer = ask(context, config, "Hi. Question: Hi?")
    assert answer.cost is None
    sent = server.calls[0].request
    assert (sent["seed"], sent["logit_bias"], sent["max_completion_tokens"]) == (3, {"5": 1}, 5)


def test_tokens_are_streamed_and_counted(server, context):
    pieces = []
    config = {"model": "m", "base_url": server.url, "on_token": pieces.append}
    answer = ask(context, config, "Ada did it. Question: Who did it?")
    assert "".join(pieces) == answer.text == "Ada did it."
    assert answer.usage.output_tokens == 4


def test_retries_are_counted_and_failures_have_the_status(server, context):
    server.push("503", "ok", "404")
    config = {"model": "m", "base_url": server.url}
    assert ask(context, config, "x y. Question: x?").retries == 1
    with pytest.raises(ModelError, match="base_url") as caught:
        ask(context, config, "x. Question: x?")
    assert caught.value.status == 404


def test_no_key_for_a_foreign_server_is_a_clear_error(context, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        OpenAIGenerator({"model": "m"}).open(context())


def test_passages_without_a_prompt_are_refused(server, context):
    item = Retrieved(query=Query(text="q"), passages=(Document(id="d", text="t"),))
    with pytest.raises(ItemError, match="promptor"):
        ask(context, {"model": "m", "base_url": server.url}, item)


def test_the_key_is_masked_in_the_configuration():
    generator = OpenAIGenerator({"model": "m", "api_key": "sk-secret-value"})
    assert "secret-value" not in repr(generator.config)


def test_in_a_job_calls_overlap_and_answers_keep_their_order(server):
    server.latency = 0.05
    sink = MemorySink()
    env = LocalEnvironment("overlap")
    questions = [f"Fact {n} is here. Question: Where is fact {n}?" for n in range(64)]
    config = {"model": "m", "base_url": server.url}
    env.from_collection(questions).map(OpenAIGenerator, config, concurrency=64).sink(sink)
    env.submit().wait()
    assert [a.text for a in sink.items] == [f"Fact {n} is here." for n in range(64)]
    assert server.max_in_flight > 32


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_under_faults_every_question_is_answered_or_failed_never_wrong(server, policy):
    server.push("429", "500", "drop", "garbage", "503", "empty", "400")
    sink = MemorySink()
    env = LocalEnvironment("faults")
    questions = [f"Fact {n} is here. Question: Where is fact {n}?" for n in range(20)]
    config = {"model": "m", "base_url": server.url}
    env.from_collection(questions).map(
        OpenAIGenerator, config, concurrency=4, on_error=policy
    ).sink(sink)
    job = env.submit()
    if policy == "fail":
        with pytest.raises(TaskFailedError) as caught:
            job.wait()
        assert isinstance(caught.value.__cause__, ModelError)
        return
    job.wait()
    assert len(sink.items) == 18
    assert all(a.text == a.query.text.split(" Question")[0] for a in sink.items)
