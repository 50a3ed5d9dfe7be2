"""Calls inside of whole pipelines, on every kind of task."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.api.calls import CallInfo, CallUsage
from sage.api.functions import MapFunction, ProcessFunction, SinkFunction
from sage.api.service import BaseService
from sage.common.errors import GraphError, JobError, NotFoundError, TaskFailedError
from sage.kernel.ledger.errors import LedgerMissError
from sage.kernel.runtime.job import Job
from sage.kernel.testing import leftovers

MODEL = CallInfo(
    kind="model",
    provider="api.openai.com",
    model="gpt-4o-mini",
    usage=lambda r: None if isinstance(r, BaseException) else CallUsage(100, 10),
)


class Provider:
    """Counts the calls, by what was asked."""

    def __init__(self) -> None:
        self.asked: Counter[Any] = Counter()
        self.fail: set[Any] = set()
        self._lock = threading.Lock()

    def ask(self, what: Any) -> dict[str, Any]:
        with self._lock:
            self.asked[what] += 1
        if what in self.fail:
            raise ConnectionError(f"{what} failed")
        return {"what": what, "nth": self.asked[what]}

    async def ask_async(self, what: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return self.ask(what)


PROVIDER = Provider()


@pytest.fixture(autouse=True)
def provider() -> Provider:
    PROVIDER.__init__()  # type: ignore[misc]
    return PROVIDER


class Ask(MapFunction[Any, Any]):
    def execute(self, item: Any) -> Any:
        return self.ctx.call(PROVIDER.ask, item, call_info=MODEL)


class AskAsync(MapFunction[Any, Any]):
    async def execute(self, item: Any) -> Any:
        return await asyncio.create_task(self.ctx.call(PROVIDER.ask_async, item, call_info=MODEL))


class AskBatch(MapFunction[Any, Any]):
    def execute_batch(self, items: list[Any]) -> list[Any]:
        return self.ctx.call_many(lambda some: [PROVIDER.ask(one) for one in some], items)


class AskBatchAsync(MapFunction[Any, Any]):
    async def execute_batch(self, items: list[Any]) -> list[Any]:
        async def ask(some: list[Any]) -> list[Any]:
            return [await PROVIDER.ask_async(one) for one in some]

        return await self.ctx.call_many(ask, items)


class Whole(MapFunction[Any, Any]):
    effect = True

    def execute(self, item: Any) -> Any:
        return PROVIDER.ask(item)


class WholeAsync(MapFunction[Any, Any]):
    effect = True

    async def execute(self, item: Any) -> Any:
        return await PROVIDER.ask_async(item)


class WholeBatch(MapFunction[Any, Any]):
    effect = True

    def execute_batch(self, items: list[Any]) -> list[Any]:
        return [PROVIDER.ask(item) for item in items]


class Oracle(BaseService):
    def ask(self, item: Any) -> Any:
        return self.ctx.call(PROVIDER.ask, item, call_info=MODEL)

    async def ask_async(self, item: Any) -> Any:
        return await self.ctx.call(PROVIDER.ask_async, item, call_info=MODEL)


class AskService(MapFunction[Any, Any]):
    effect = True

    def execute(self, item: Any) -> Any:
        return self.call_service["oracle"].ask(item)


class AskServiceAsync(MapFunction[Any, Any]):
    effect = True

    async def execute(self, item: Any) -> Any:
        return await self.call_service["oracle"].ask_async(item)


class AskServiceFromThread(MapFunction[Any, Any]):
    effect = True

    def execute(self, item: Any) -> Any:
        return self.call_service["oracle"].ask_async(item, timeout=30)


class Keyed(ProcessFunction[Any, Any]):
    def open(self, ctx: Any) -> None:
        self.count = ctx.value_state("count", 0)

    def process(self, item: Any) -> Any:
        self.count.value += 1
        yield self.ctx.call(PROVIDER.ask, item, call_info=MODEL)


Env = Callable[..., LocalEnvironment]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    def make(**settings: Any) -> LocalEnvironment:
        config = {
            "dead_letter_dir": str(tmp_path),
            "fault_tolerance": {
                "store": str(tmp_path / "store"),
                "interval": None,
                "durability": "process",
                **settings,
            },
        }
        return LocalEnvironment("flow", config)

    return make


STEPS: dict[str, tuple[type[MapFunction[Any, Any]], dict[str, Any]]] = {
    "sync": (Ask, {}),
    "sync with a timeout": (Ask, {"timeout": 60}),
    "parallel": (Ask, {"parallelism": 3}),
    "parallel with a timeout": (Ask, {"parallelism": 3, "timeout": 60}),
    "async": (AskAsync, {"concurrency": 4}),
    "async with a timeout": (AskAsync, {"concurrency": 4, "timeout": 60}),
    "vector": (AskBatch, {}),
    "vector with a timeout": (AskBatch, {"timeout": 60}),
    "async vector": (AskBatchAsync, {}),
    "whole": (Whole, {}),
    "whole parallel": (Whole, {"parallelism": 3}),
    "whole async": (WholeAsync, {"concurrency": 4}),
    "whole vector": (WholeBatch, {}),
    "service": (AskService, {}),
    "service, parallel": (AskService, {"parallelism": 3}),
    "async service": (AskServiceAsync, {"concurrency": 4}),
    "async service from a thread": (AskServiceFromThread, {}),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_run_that_goes_on_pays_for_nothing_twice(env: Env, kind: str) -> None:
    function, options = STEPS[kind]
    broken = [True]

    def check(item: Any) -> Any:
        if broken[0] and item["what"] == 17:
            raise ValueError("not now")
        return item

    def run() -> list[Any]:
        out: list[Any] = []
        pipeline = env()
        pipeline.register_service("oracle", Oracle)
        pipeline.from_collection(range(30)).map(function, **options).map(check).sink(out.append)
        job = pipeline.submit()
        try:
            job.wait()
        finally:
            ids.append([o.record for o in job.outputs("ok")])
        return out

    ids: list[list[str]] = []
    with pytest.raises(TaskFailedError, match="not now"):
        run()
    paid = dict(PROVIDER.asked)
    assert paid[17] == 1
    broken[0] = False
    out = run()
    assert [item["what"] for item in out] == list(range(30))
    assert {n: PROVIDER.asked[n] for n in paid} == paid, "what was paid for is not paid for again"
    assert set(PROVIDER.asked.values()) == {1}
    assert ids[1] == [f"source:collection:{n}" for n in range(30)]


def test_a_retry_does_not_pay_for_the_first_call_twice(env: Env) -> None:
    class Two(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            first = self.ctx.call(PROVIDER.ask, ("first", item))
            self.ctx.call(PROVIDER.ask, ("first", item))
            second = self.ctx.call(flaky, ("second", item))
            return first, second

    def flaky(what: Any) -> Any:
        PROVIDER.asked[what] += 1
        if PROVIDER.asked[what] < 3:
            raise ConnectionError
        return what

    for options in ({}, {"parallelism": 2}, {"timeout": 60}):
        PROVIDER.asked.clear()
        out: list[Any] = []
        pipeline = env(resume="never")
        pipeline.from_collection(range(3)).map(
            Two, retry={"max_attempts": 4, "initial_delay": 0}, **options
        ).sink(out.append)
        job = pipeline.submit().wait()
        assert [PROVIDER.asked["first", n] for n in range(3)] == [2, 2, 2]
        assert [PROVIDER.asked["second", n] for n in range(3)] == [3, 3, 3]
        cost = job.cost()
        assert (cost.total.calls, cost.total.failed) == (9, 6)


def test_a_failed_batch_pays_only_for_the_missing_items(env: Env) -> None:
    PROVIDER.fail.add(3)
    out: list[Any] = []
    pipeline = env()
    pipeline.from_collection(range(6)).map(Whole, on_error="skip").sink(out.append)
    job = pipeline.submit().wait()
    assert [item["what"] for item in out] == [0, 1, 2, 4, 5]
    assert [o.status for o in job.outputs()].count("skipped") == 1


def test_restart_in_the_process(env: Env) -> None:
    failures = iter([True, False])

    def check(item: Any) -> Any:
        if item["what"] == 5 and next(failures, False):
            raise ValueError("once")
        return item

    out: list[Any] = []
    pipeline = env(restart={"strategy": "fixed_delay", "delay": 0})
    pipeline.from_collection(range(10)).map(Ask).map(check).sink(out.append)
    pipeline.submit().wait()
    assert set(PROVIDER.asked.values()) == {1}
    assert {item["what"] for item in out} == set(range(10))


def test_keyed_steps_in_several_subtasks(env: Env) -> None:
    def run() -> Job:
        out: list[Any] = []
        pipeline = env()
        keyed = pipeline.from_collection(range(40)).key_by(lambda n: n % 5)
        keyed.process(Keyed, parallelism=3).sink(out.append)
        job = pipeline.submit().wait()
        assert {item["what"] for item in out} == set(range(40))
        return job

    job = run()
    assert set(PROVIDER.asked.values()) == {1}
    cost = job.cost("item")
    assert len(cost.lines) == 40
    assert {line.key for line in cost.lines} == {f"source:collection:{n}" for n in range(40)}


def test_laps_of_a_loop_are_different_records(env: Env) -> None:
    """The same request in the next lap is another call: it may get another answer."""
    out: list[Any] = []

    def again(item: Any) -> Any:
        return item["nth"] < 3

    class Same(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            return self.ctx.call(PROVIDER.ask, item["what"])

    pipeline = env()
    source = pipeline.from_collection([{"what": "a", "nth": 0}, {"what": "b", "nth": 0}])
    back = pipeline.from_future(max_items=10)
    asked = source.union(back).map(Same)
    pipeline.fill_future(back, asked.filter(again))
    asked.filter(lambda item: not again(item)).sink(out.append)
    job = pipeline.submit().wait()
    assert PROVIDER.asked == {"a": 3, "b": 3}
    assert sorted(item["what"] for item in out) == ["a", "b"]
    records = sorted(o.record for o in job.outputs())
    assert [record.count("@1") for record in records] == [2, 2]
    assert [len(job.why(record).calls) for record in records] == [3, 3]
    assert [line.key for line in job.cost("item").lines] == [
        "source:collection:0",
        "source:collection:1",
    ]


def test_outputs_of_one_record_are_told_apart(env: Env) -> None:
    out: list[Any] = []
    pipeline = env()
    pipeline.from_collection([3]).flatmap(lambda n: ["same"] * n).map(Ask).sink(out.append)
    job = pipeline.submit().wait()
    assert [item["nth"] for item in out] == [1, 2, 3]
    assert len(job.outputs()) == 3


def test_replay_fork_why_cost(env: Env, tmp_path: Path) -> None:
    class Lines(SinkFunction[Any]):
        path_keys = ("file_path",)

        def open(self, ctx: Any) -> None:
            self.file = Path(self.config["file_path"]).open("w")  # noqa: SIM115 - closed in close()

        def execute(self, item: Any) -> None:
            self.file.write(f"{item}\n")

        def close(self) -> None:
            self.file.close()

    class Post(SinkFunction[Any]):
        effect = True

        def execute(self, item: Any) -> None:
            posted.append(item)

    class Prompt(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            asked = self.ctx.call(PROVIDER.ask, f"{self.config['word']} {item['what']}")
            return {**asked, "at": self.ctx.now(), "id": str(self.ctx.uuid())}

    posted: list[Any] = []
    path = tmp_path / "out.txt"
    pipeline = env()
    answers = pipeline.from_collection(range(8)).map(Ask, name="ask")
    prompted = answers.map(Prompt, {"word": "please"}, name="prompt")
    prompted.map(lambda item: item, name="last").sink(Lines, {"file_path": str(path)})
    prompted.sink(Post, name="post")
    job = pipeline.submit().wait()
    assert PROVIDER.asked.total() == 16
    assert len(posted) == 8
    written = path.read_text()

    replay = job.replay(tmp_path / "again").wait()
    assert (tmp_path / "again" / "out.txt").read_text() == written
    assert PROVIDER.asked.total() == 16
    assert len(posted) == 8
    assert "sink 'post' has effects outside and does not run" in replay.logs()
    assert str(replay.why("source:collection:0")) == str(job.why("source:collection:0"))
    second = job.replay().wait()
    assert job.run_folder is not None
    assert (Path(job.run_folder) / "replays" / "1" / "out.txt").read_text() == written
    assert second.id != job.id

    fork = job.fork("prompt", set={"word": "now"}, output=tmp_path / "forked").wait()
    assert PROVIDER.asked.total() == 24
    assert "now 3" in (tmp_path / "forked" / "out.txt").read_text()
    assert path.read_text() == written
    assert len(posted) == 8
    cost = {line.key: line for line in fork.cost().lines}
    assert (cost["ask"].hits, cost["ask"].calls, cost["ask"].cost) == (8, 0, Decimal(0))
    assert cost["prompt"].calls == 8
    of_fork = fork.replay(tmp_path / "fork-again").wait()
    assert PROVIDER.asked.total() == 24
    assert of_fork.status == "FINISHED"

    assert job.cost().total.cost == 8 * (100 * Decimal("0.15") + 10 * Decimal("0.6")) / 1_000_000
    assert job.cost("model").lines[0].key == "gpt-4o-mini"
    assert sum(line.cost for line in job.cost("item").lines) == job.cost().total.cost
    why = job.why("source:collection:3")
    assert [call.step for call in why.calls] == ["ask", "prompt", "post"]
    assert sorted(o.step for o in why.outputs) == ["post", "sink-4:Lines"]
    text = str(why)
    assert "source:collection, record 3" in text
    assert "ask: gpt-4o-mini at api.openai.com, 100 → 10 tokens, 0.000021 USD" in text
    with pytest.raises(NotFoundError, match="nearest: source:collection:"):
        job.why("source:collection:99")
    with pytest.raises(GraphError, match="did you mean 'prompt'"):
        job.fork("promt")
    with pytest.raises(GraphError, match="cannot be changed"):
        job.fork("last", set={"word": 1})
    with pytest.raises(JobError, match="say from which step"):
        job.fork()


def test_only_the_failed_items(env: Env) -> None:
    PROVIDER.fail.update((2, 5))
    pipeline = env()
    pipeline.from_collection(range(8)).map(Ask, on_error="dead_letter").sink(lambda item: None)
    job = pipeline.submit().wait()
    assert sorted(o.record for o in job.outputs("dead_letter")) == [
        "source:collection:2",
        "source:collection:5",
    ]
    PROVIDER.fail.clear()
    before = PROVIDER.asked.total()
    fork = job.fork(where="status=failed").wait()
    assert PROVIDER.asked.total() == before + 2
    assert sorted(o.record for o in fork.outputs("ok")) == [
        "source:collection:2",
        "source:collection:5",
    ]
    one = job.fork("map-1:Ask", where="record=source:collection:1").wait()
    assert [o.record for o in one.outputs()] == ["source:collection:1"]
    with pytest.raises(JobError, match="no item"):
        job.fork(where="status=skipped")
    with pytest.raises(JobError, match="where must be"):
        job.fork(where="failed")


def test_a_replay_of_changed_code_fails_loudly(env: Env) -> None:
    pipeline = env()
    changing = [0]

    class Changed(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            return self.ctx.call(PROVIDER.ask, item + changing[0])

    pipeline.from_collection([10]).map(Changed).sink(lambda item: None)
    job = pipeline.submit().wait()
    changing[0] = 1
    with pytest.raises(TaskFailedError) as caught:
        job.replay().wait()
    error = caught.value.__cause__
    assert isinstance(error, LedgerMissError)
    assert error.record == "source:collection:0"
    assert "-  10" in error.diff
    assert "+  11" in error.diff
    assert PROVIDER.asked.total() == 1


def test_a_step_that_was_never_recorded_is_not_run_in_a_replay(env: Env) -> None:
    pipeline = env(ledger=True)
    pipeline.from_collection([1]).map(Ask).filter(lambda item: False).map(Whole).sink(print)
    job = pipeline.submit().wait()
    graph = job._graph
    filters = [node for node in graph.nodes.values() if node.kind == "filter"]
    filters[0].specs[0].target = lambda item: True
    with pytest.raises(TaskFailedError, match="nothing was recorded for it"):
        job.replay().wait()
    assert PROVIDER.asked.total() == 1


def test_what_the_ledger_cannot_record_is_refused(env: Env) -> None:
    pipeline = env()
    pipeline.from_collection([1]).map(Whole, executor="process").sink(print)
    with pytest.raises(GraphError, match="executor='process'"):
        pipeline.submit()

    def hidden(step: Any, item: Any) -> Any:
        return getattr(step.ctx, "call")(str, item)  # noqa: B009 - not seen at submit

    class Hidden(MapFunction):  # type: ignore[type-arg]
        def execute(self, item: Any) -> Any:
            return hidden(self, item)

    pipeline = env()
    pipeline.from_collection([1]).map(Hidden, executor="process").sink(print)
    with pytest.raises(TaskFailedError, match=r"cannot use ctx.call.*use executor='thread'"):
        pipeline.submit().wait()

    pipeline = env()
    pipeline.stream_graph.config["lineage"] = False
    pipeline.from_collection([1]).map(Ask).sink(print)
    with pytest.raises(GraphError, match="lineage is false"):
        pipeline.submit()

    class Stateful(MapFunction[Any, Any]):
        effect = True

        def open(self, ctx: Any) -> None:
            self.seen = ctx.operator_state("seen", 0)

        def execute(self, item: Any) -> Any:
            self.seen.value += 1
            return item

    pipeline = env()
    pipeline.from_collection([1]).map(Stateful).sink(print)
    with pytest.raises(TaskFailedError, match="declared effect=True and keeps state"):
        pipeline.submit().wait()
    assert leftovers() == []


def test_without_a_ledger_calls_are_plain(env: Env) -> None:
    out: list[Any] = []
    for settings in (None, {"ledger": False}):
        pipeline = LocalEnvironment("plain") if settings is None else env(**settings)
        pipeline.from_collection(range(3)).map(Ask).sink(out.append)
        job = pipeline.submit().wait()
        assert job.ledger is None
        with pytest.raises(JobError, match="has no ledger"):
            job.cost()
    assert PROVIDER.asked == {0: 2, 1: 2, 2: 2}


@pytest.mark.parametrize("cache", ["run", "shared", "off"])
def test_the_step_option_cache(env: Env, cache: str) -> None:
    for _ in range(2):
        pipeline = env(resume="never")
        pipeline.from_collection(range(3)).map(Ask, cache=cache).sink(lambda item: None)
        job = pipeline.submit().wait()
    assert PROVIDER.asked.total() == (3 if cache == "shared" else 6)
    assert job.cost().total.hits == (3 if cache == "shared" else 0)
    with pytest.raises(GraphError, match="cache must be"):
        env().from_collection([1]).map(Ask, cache="always")
