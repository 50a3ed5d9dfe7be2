"""OllamaGenerator against a server on loopback that speaks ``/api/chat``."""

import asyncio
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, ModelError
from sage.lib.rag.generator import OllamaGenerator
from sage.lib.testing.generators import GeneratorSuite
from sage.lib.types import ChatMessage, Prompt, Query, ToolCall


class Ollama:
    def __init__(self):
        self.requests = []
        self.faults = deque()
        self.message = {"content": "The sky is blue."}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, handler):
        size = int(handler.headers["content-length"])
        request = json.loads(handler.rfile.read(size))
        self.requests.append((handler.path, request, dict(handler.headers)))
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, int):
            body = json.dumps({"error": f"model {request['model']!r} not found"}).encode()
            self._send(handler, fault, [body], "application/json")
            return
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 4}
        base = {"model": request["model"], "created_at": "2025-01-01T00:00:00Z"}
        message = {"role": "assistant", **self.message}
        if not request["stream"]:
            body = json.dumps({**base, "message": message, **end}).encode()
            if fault == "garbage":
                body = body[:40]
            self._send(handler, 200, [body], "application/json")
            return
        words = message.pop("content").split(" ")
        pieces = [w if n == 0 else f" {w}" for n, w in enumerate(words)]
        lines = [{**base, "message": {**message, "content": p}, "done": False} for p in pieces]
        if fault == "error":
            lines.append({"error": "out of memory"})
        elif fault != "cut":
            lines.append({**base, "message": {"role": "assistant", "content": ""}, **end})
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        # Cut anywhere, also inside of a line.
        chunks = [data[n : n + 37] for n in range(0, len(data), 37)]
        self._send(handler, 200, chunks, "application/x-ndjson")

    @staticmethod
    def _send(handler, status, chunks, kind):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
            handler.wfile.flush()


@pytest.fixture
def ollama():
    server = Ollama()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join(10)


class TestOllamaGenerator(GeneratorSuite):
    stream = False

    @pytest.fixture(autouse=True)
    def server(self, ollama):
        self.url = ollama.url

    def make(self, **settings):
        own = {"model": "llama3.2", "base_url": self.url, "stream": self.stream}
        return OllamaGenerator({**own, **settings})


class TestOllamaGeneratorStreaming(TestOllamaGenerator):
    stream = True


def ask(context, item, **settings):
    operator = OllamaGenerator({"model": "llama3.2", **settings})
    operator.open(context())
    try:
        return asyncio.run(operator.execute(item))
    finally:
        operator.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_job_asks_the_native_api(ollama, stream):
    answers = []
    env = LocalEnvironment("ollama")
    settings = {"model": "llama3.2", "base_url": ollama.url, "stream": stream}
    questions = ["Why is the sky blue?", "Who?"]
    env.from_collection(questions).map("OllamaGenerator", settings).sink(answers.append)
    env.submit().wait(60)
    assert [a.text for a in answers] == ["The sky is blue."] * 2
    assert answers[0].query.text == questions[0]
    assert answers[0].model == "llama3.2"
    assert (answers[0].usage.input_tokens, answers[0].usage.output_tokens) == (11, 4)
    assert answers[0].finish_reason == "stop"
    assert answers[0].cost is None
    assert {path for path, _, _ in ollama.requests} == {"/api/chat"}
    expected = [
        {"model": "llama3.2", "stream": stream, "messages": [{"role": "user", "content": text}]}
        for text in questions
    ]
    # Both are in flight at a time: either may come first.
    sent = [request for _, request, _ in ollama.requests]
    assert sent in (expected, expected[::-1])


def test_options_have_ollamas_names(ollama, context):
    ask(
        context,
        "Why?",
        base_url=ollama.url,
        temperature=0.5,
        max_tokens=9,
        seed=3,
        stop="\n",
        num_ctx=4096,
        keep_alive="10m",
        format="json",
        options={"mirostat": 1},
    )
    request = ollama.requests[0][1]
    assert request["options"] == {
        "temperature": 0.5,
        "num_predict": 9,
        "seed": 3,
        "stop": ["\n"],
        "num_ctx": 4096,
        "mirostat": 1,
    }
    assert request["keep_alive"] == "10m"
    assert request["format"] == "json"


def test_tokens_are_seen_as_they_come(ollama, context):
    seen = []
    answer = ask(context, "Why?", base_url=ollama.url, on_token=seen.append)
    assert seen == ["The", " sky", " is", " blue."]
    assert answer.text == "".join(seen)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_go_out_and_come_back(ollama, context, stream):
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    ollama.message = {"content": "", "tool_calls": [call]}
    messages = (
        ChatMessage(
            role="assistant",
            content="",
            tool_calls=(ToolCall(id="1", name="add", arguments='{"a": 2}'),),
        ),
        ChatMessage(role="tool", content="3", name="add", tool_call_id="1"),
    )
    prompt = Prompt(messages=messages, query=Query(text="?"))
    answer = ask(context, prompt, base_url=ollama.url, stream=stream, tools=[{"type": "function"}])
    assert [(c.name, json.loads(c.arguments)) for c in answer.tool_calls] == [("add", {"a": 1})]
    assert answer.finish_reason == "tool_calls"
    sent = ollama.requests[0][1]["messages"]
    assert sent[0]["tool_calls"] == [{"function": {"name": "add", "arguments": {"a": 2}}}]
    assert sent[1] == {"role": "tool", "content": "3", "tool_name": "add"}


def test_a_result_is_that_of_the_tool_whose_call_it_names(ollama):
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for n, name in enumerate(["sun", "rain"])
    ]
    messages = [
        {"role": "user", "content": "How is the weather?", "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "wet", "tool_call_id": "call_1"},
        {"role": "tool", "content": "dark", "tool_call_id": "call_0"},
    ]
    answers = []
    env = LocalEnvironment("tools")
    settings = {"model": "llama3.2", "base_url": ollama.url}
    env.from_collection([{"messages": messages}]).map("OllamaGenerator", settings).sink(
        answers.append
    )
    env.submit().wait(60)
    assert answers[0].query.text == "How is the weather?"
    sent = ollama.requests[0][1]["messages"]
    assert [m.get("tool_name") for m in sent] == [None, None, "rain", "sun"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("think", [True, False, "high", None])
def test_thoughts_are_asked_for_and_left_out(ollama, think, stream):
    ollama.message = {"content": "Blue.", "thinking": "Perhaps green?"}
    answers = []
    env = LocalEnvironment("thoughts")
    settings = {"model": "gpt-oss", "base_url": ollama.url, "think": think, "stream": stream}
    env.from_collection(["Which colour?"]).map("OllamaGenerator", settings).sink(answers.append)
    env.submit().wait(60)
    assert answers[0].text == "Blue."
    assert ollama.requests[0][1].get("think") == think
    assert ("think" in ollama.requests[0][1]) == (think is not None)


@pytest.mark.parametrize(
    ("fault", "stream"), [(500, False), (503, True), ("garbage", False), ("cut", True)]
)
def test_what_can_pass_is_retried(ollama, context, fault, stream):
    ollama.faults.append(fault)
    answer = ask(context, "Why?", base_url=ollama.url, stream=stream)
    assert answer.text == "The sky is blue."
    assert answer.retries == 1


def test_a_missing_model_is_not_retried(ollama, context):
    ollama.faults.append(404)
    with pytest.raises(ModelError, match=r"llama3\.2.* not found") as caught:
        ask(context, "Why?", base_url=ollama.url)
    assert caught.value.data["status"] == 404
    assert len(ollama.requests) == 1


def test_an_error_in_a_stream_is_an_error(ollama, context):
    ollama.faults.append("error")
    with pytest.raises(ModelError, match="out of memory"):
        ask(context, "Why?", base_url=ollama.url, stream=True, max_retries=0)


def test_an_empty_answer_is_an_error(ollama, context):
    ollama.message = {"content": ""}
    with pytest.raises(ModelError, match="empty completion"):
        ask(context, "Why?", base_url=ollama.url)


def test_the_host_comes_from_the_environment_and_no_other_key_is_sent(ollama, context, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", ollama.url.removeprefix("http://"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    ask(context, "Why?")
    assert "Authorization" not in ollama.requests[0][2]
    ask(context, "Why?", api_key="mine")
    assert ollama.requests[1][2]["Authorization"] == "Bearer mine"


def test_the_model_must_be_named():
    with pytest.raises(ConfigError, match="model is missing"):
        OllamaGenerator({})
    with pytest.raises(ConfigError, match="think: must be a bool, one of 'low'"):
        OllamaGenerator({"model": "m", "think": "much"})
