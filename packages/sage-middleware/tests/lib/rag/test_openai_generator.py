import asyncio
import json
import socket

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, ModelError, TaskFailedError
from sage.lib.adapt import to_dict
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


def run(config, *items):
    answers = []
    env = LocalEnvironment("ask")
    env.from_collection(list(items)).map("OpenAIGenerator", {"model": "m", **config}).sink(
        answers.append
    )
    env.submit().wait(60)
    return answers


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "call_7", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize("stream", [False, True])
def test_options_are_sent_as_the_api_names_them(server, stream):
    given = {
        "top_p": 0.4,
        "seed": 3,
        "stop": ["\n", "END"],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {"type": "json_object"},
    }
    run({**given, "base_url": server.url, "stream": stream, "headers": {"X-Team": "a"}}, "Hi?")
    sent = server.calls[0].request
    assert {name: sent.get(name) for name in given} == given
    assert server.calls[0].headers["x-team"] == "a"
    run({"base_url": server.url, "stream": stream}, "Hi?")
    assert not set(given) & set(server.calls[1].request)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_and_its_result_go_there_and_back(server, stream):
    config = {"base_url": server.url, "tools": [TOOL], "stream": stream}
    server.answer = lambda request: {"content": "", "tool_calls": [CALL]}
    (asked,) = run(config, "Question: What is 1 + 2?")
    assert asked.finish_reason == "tool_calls"
    (call,) = asked.tool_calls
    server.answer = lambda request: request["messages"][-1]["content"]
    said = {"role": "assistant", "content": asked.text, "tool_calls": [call]}
    result = {"role": "tool", "content": "3", "tool_call_id": call.id}
    (answer,) = run(config, {"messages": [{"role": "user", "content": "1 + 2?"}, said, result]})
    assert answer.text == "3"
    sent = server.calls[1].request["messages"]
    assert sent[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert sent[2] == result
    # A prompt that was written out is the same prompt when it is read again.
    (again,) = run(config, json.loads(json.dumps(to_dict(answer.prompt))))
    assert again.prompt.messages == answer.prompt.messages
    assert server.calls[2].request["messages"] == sent


def test_a_broken_tool_call_is_named(server):
    said = {"role": "assistant", "tool_calls": [{"name": "add"}]}
    with pytest.raises(TaskFailedError, match="cannot read a tool call"):
        run({"base_url": server.url}, {"messages": [said]})
    assert server.count == 0


@pytest.fixture
def unanswering():
    """An address whose connections are never made: its queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        while True:
            client = socket.socket()
            client.settimeout(0.2)
            waiting.append(client)
            try:
                client.connect(listening.getsockname())
            except TimeoutError:
                break
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        for client in waiting:
            client.close()


def failure_of(config):
    with pytest.raises(TaskFailedError) as caught:
        run({"max_retries": 0, **config}, "Hi?")
    return caught.value.__cause__


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_takes_no_connection_is_given_up_in_time(unanswering, stream):
    config = {"base_url": unanswering, "connect_timeout": 0.3, "stream": stream}
    error = failure_of(config)
    assert error.data["kind"] == "timeout"
    assert "no connection within 0.3 s (connect_timeout)" in error.message


def test_a_stream_that_stalls_is_given_up_in_time(server):
    server.answer = lambda request: "One word and then another"
    server.token_latency = 600
    error = failure_of({"base_url": server.url, "stream": True, "idle_timeout": 0.3})
    assert (error.data["kind"], error.data["partial"]) == ("timeout", "One")
    assert "stalled for 0.3 s (idle_timeout)" in error.message


def test_an_answer_that_takes_too_long_is_given_up(server):
    server.latency = 600
    for stream in (False, True):
        error = failure_of({"base_url": server.url, "timeout": 0.3, "stream": stream})
        assert "no whole answer within 0.3 s (timeout)" in error.message
