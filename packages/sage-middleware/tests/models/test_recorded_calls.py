"""Operators that pay, in runs that fail and go on: what was answered is not asked for again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.api.functions import MapFunction
from sage.common.errors import ModelError, TaskFailedError
from sage.lib.evaluate import FaithfulnessEvaluate
from sage.lib.io.sink import APISink
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import HyDERetriever
from sage.lib.routing import LLMRouter
from sage.lib.transform import Embed
from sage.lib.types import Answer, Query
from sage.middleware.services.memory.service import MemoryService
from sage.middleware.testing.model_server import ModelServer, content_of
from sage.middleware.testing.referee import Referee

Env = Callable[..., LocalEnvironment]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    def make(**options: Any) -> LocalEnvironment:
        made = LocalEnvironment("recorded")
        made.enable_checkpoints(None, store=tmp_path / "runs", durability="process", **options)
        return made

    return make


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(answer=reply) as running:
        yield running


def reply(request: dict[str, Any]) -> str:
    text = content_of(request["messages"][-1])
    if "verdicts" in text or "claims" in text:
        return json.dumps({"claims": ["it is so"], "verdicts": [True]})
    return f"answer to {text[-40:]}"


class Broken:
    """Lets ``good`` items through, then fails once per job until it is mended."""

    def __init__(self, good: int) -> None:
        self.left: int | None = good

    def __call__(self, item: Any) -> Any:
        if self.left is not None:
            if self.left == 0:
                raise ValueError("broken")
            self.left -= 1
        return item

    def mend(self) -> None:
        self.left = None


def run_twice(build: Callable[[Any], LocalEnvironment]) -> Any:
    """Run a pipeline that breaks after three items, then let it go on."""
    broken = Broken(3)
    with pytest.raises(TaskFailedError, match="broken"):
        build(broken).submit().wait()
    broken.mend()
    return build(broken).submit().wait()


def asked(server: ModelServer) -> Counter[str]:
    return Counter(json.dumps(call.request["messages"], sort_keys=True) for call in server.calls)


def test_a_generator_and_its_idempotency_keys(env: Env, server: ModelServer) -> None:
    out: list[Any] = []
    pieces: list[str] = []

    def build(broken: Any) -> LocalEnvironment:
        made = env()
        model = {"model": "m", "base_url": server.url, "on_token": pieces.append}
        questions = made.from_collection([f"Question {n}?" for n in range(8)])
        questions.map(OpenAIGenerator, model).map(broken).sink(out.append)
        return made

    job = run_twice(build)
    assert set(asked(server).values()) == {1}
    assert len(server.calls) == 8
    keys = [call.headers["idempotency-key"] for call in server.calls]
    assert len(set(keys)) == 8
    assert [answer.query.text for answer in out[-8:]] == [f"Question {n}?" for n in range(8)]
    assert "".join(pieces).count("Question 0?") == 2, "a recorded reply is told in one piece"
    cost = job.cost()
    assert (cost.total.calls, cost.total.unpriced) == (8, 8), "a model of our own has no price"
    why = str(job.why(job.outputs()[0].record))
    assert "question  Question 0?" in why
    assert "answer    answer to" in why


def test_retries_send_the_same_key(env: Env, server: ModelServer) -> None:
    server.push("500", "429")
    made = env()
    model = {"model": "m", "base_url": server.url}
    made.from_collection(["Question?"]).map(OpenAIGenerator, model).sink(lambda item: None)
    job = made.submit().wait()
    assert len({call.headers["idempotency-key"] for call in server.calls}) == 1
    assert job.cost().total.retries == 2


def test_an_answer_costs_what_the_ledger_says(
    env: Env, server: ModelServer, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices:\n- {model: m, input: 3, cached: 1, output: 5, call: 0.01}\n")
    made = env(prices=prices)
    answers: list[Answer] = []
    model = {"model": "m", "base_url": server.url}
    hyde = {**model, "documents": ["A text."], "embed": "hash"}
    questions = made.from_collection(["Question?", "Another?"], type=Query)
    found = questions.map(HyDERetriever, hyde, name="retrieve")
    found.map(QAPromptor).map(OpenAIGenerator, model, name="answer").sink(answers.append)
    job = made.submit().wait()
    lines = {line.key: line for line in job.cost().lines}
    paid = [answer.cost for answer in answers if answer.cost is not None]
    assert len(paid) == 2
    assert sum(paid) == pytest.approx(float(lines["answer"].cost))
    assert sum(paid) > 0.02
    counted = job.metrics()["operators"]["retrieve"]["counters"]["cost_usd"]
    assert counted == pytest.approx(float(lines["retrieve"].cost))

    job.replay().wait()
    assert [answer.cost for answer in answers[2:]] == paid


def test_an_empty_completion_is_paid_for(env: Env, server: ModelServer) -> None:
    server.push("empty")
    made = env()
    model = {"model": "m", "base_url": server.url, "prices": {"m": {"input": 1, "output": 1}}}
    stream = made.from_collection(["Question?"]).map(OpenAIGenerator, model, on_error="skip")
    stream.sink(lambda item: None)
    job = made.submit().wait()
    total = job.cost().total
    assert (total.calls, total.failed) == (0, 1)
    assert total.cost > 0


def test_routers_judges_and_hypothetical_answers(env: Env, server: ModelServer) -> None:
    texts = ["The sky is blue.", "Rain is wet."]

    def build(broken: Any) -> LocalEnvironment:
        made = env()
        model = {"model": "m", "base_url": server.url}
        questions = made.from_collection([f"Question {n}?" for n in range(5)])
        retriever = {**model, "documents": texts, "embed": "hash", "top_k": 1}
        found = questions.map(HyDERetriever, retriever)
        answers = found.map(QAPromptor, {}).map(OpenAIGenerator, model)
        judge = {"judge": "m", "base_url": server.url}
        answers.map(FaithfulnessEvaluate, judge).map(broken).sink(lambda item: None)
        return made

    job = run_twice(build)
    assert set(asked(server).values()) == {1}
    assert {line.key.partition(":")[2] for line in job.cost().lines} == {
        "HyDERetriever",
        "OpenAIGenerator",
        "FaithfulnessEvaluate",
    }
    server.calls.clear()
    job.replay().wait()
    assert server.calls == []


def test_a_router_is_asked_once(env: Env) -> None:
    with ModelServer(answer=lambda request: "weather") as server:

        def build(broken: Any) -> LocalEnvironment:
            made = env()
            routes = {"weather": "about the sky", "sport": "about games"}
            router = {"model": "m", "base_url": server.url, "routes": routes}
            questions = made.from_collection([f"Question {n}?" for n in range(5)])
            routed = questions.route(LLMRouter, router)
            routed["weather"].map(broken).sink(lambda item: None)
            routed["sport"].sink(lambda item: None)
            return made

        run_twice(build)
        assert set(asked(server).values()) == {1}
        assert len(server.calls) == 5


def test_hosted_embeddings_are_recorded_per_text(env: Env) -> None:
    with Referee(dimensions=8) as referee:
        out: list[Any] = []
        options = {
            "model": "e",
            "base_url": referee.url.removesuffix("/v1") + "/v1",
            "api_key": "k",
        }
        texts = [{"id": str(n), "text": f"text number {n}"} for n in range(12)]

        def build(broken: Any) -> LocalEnvironment:
            made = env(prices=None)
            embed = {"method": "openai", "options": options}
            made.from_collection(texts).map(Embed, embed, batch_size=4).map(broken).sink(out.append)
            return made

        job = run_twice(build)
        first = referee.summary()
        assert len(out[-12:]) == 12
        cost = job.cost()
        assert cost.total.calls == 12, "one per text, however they were sent"
        assert cost.total.input_tokens == first["input_tokens"]
        job.replay().wait()
        assert referee.summary()["calls"] == first["calls"]


def test_an_endpoint_gets_no_item_twice(env: Env, tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    taken: list[tuple[str, Any]] = []
    refuse = [True]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            item = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bad = refuse[0] and item == 5
            taken.append((self.headers["Idempotency-Key"], item))
            self.send_response(400 if bad else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{http.server_port}/"

        def build() -> LocalEnvironment:
            made = env()
            settings = {"url": url, "batch_size": 1, "requests": 1}
            made.from_collection(range(10)).sink(APISink, settings, concurrency=1)
            return made

        with pytest.raises(TaskFailedError, match="400"):
            build().submit().wait()
        refuse[0] = False
        job = build().submit().wait()
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    assert Counter(item for _, item in taken) == {**dict.fromkeys(range(10), 1), 5: 2}
    keys = {item: {key for key, each in taken if each == item} for item in range(10)}
    assert all(len(found) == 1 for found in keys.values()), "an item has one key in all processes"
    assert len({key for found in keys.values() for key in found}) == 10
    assert len(job.outputs("ok")) == 10


def test_a_summary_that_a_service_asks_for_is_the_steps_call(env: Env, tmp_path: Path) -> None:
    class Remember(MapFunction[str, str]):
        calls_on_behalf = True

        def execute(self, item: str) -> str:
            self.call_service["memory"].add_turn("s", "user", item)
            return item

    with ModelServer(answer=lambda request: "they talked") as server:
        session = {
            "max_tokens": 60,
            "policy": "summarise",
            "summariser": {"model": "m", "base_url": server.url},
        }
        made = env()
        made.register_service("memory", MemoryService, {"data_dir": str(tmp_path)}, session=session)
        said = [f"the {n}th thing that I wanted to say today is this" for n in range(8)]
        made.from_collection(said).map(Remember, name="remember").sink(lambda item: None)
        job = made.submit().wait()
        lines = job.cost().lines
        assert server.count > 0
        assert [(line.key, line.calls) for line in lines] == [("remember", server.count)]


def test_a_client_without_a_job_makes_plain_calls(server: ModelServer) -> None:
    from sage.api.context import RuntimeContext

    generator = OpenAIGenerator({"model": "m", "base_url": server.url})
    context = RuntimeContext(job_id="j", job_name="j", operator="g", uid="g")
    generator.open(context)

    async def ask() -> Any:
        try:
            return await generator.execute("Question?")
        finally:
            generator.close()

    import asyncio

    assert asyncio.run(ask()).text.startswith("answer to")
    assert "idempotency-key" not in server.calls[0].headers
    server.push("400")
    with pytest.raises(ModelError):
        asyncio.run(ask())
