from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from sage.api.calls import CallInfo, CallUsage
from sage.kernel.ledger.current import CURRENT, Current, Named
from sage.kernel.ledger.errors import LedgerError, LedgerMissError
from sage.kernel.ledger.many import share_out
from sage.kernel.ledger.run import RunLedger
from sage.kernel.state.errors import StateEncodingError

Open = Callable[..., RunLedger]


class Counting:
    """A provider that counts its calls."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def ask(self, prompt: str, **options: Any) -> dict[str, Any]:
        self.made.append(prompt)
        return {"text": f"{prompt}!", "nth": len(self.made), **options}

    async def ask_async(self, prompt: str, **options: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return self.ask(prompt, **options)


def test_a_call_is_made_once_per_record_and_request(open_: Open, make_step: Any) -> None:
    provider = Counting()
    step = make_step(open_())
    first = step.ctx.call(provider.ask, "a")
    step.record = "source:1"
    other = step.ctx.call(provider.ask, "a")
    assert (first["nth"], other["nth"]) == (1, 2), "two records pay each for itself"

    again = make_step(open_())
    assert again.ctx.call(provider.ask, "a") == first
    again.record = "source:1"
    assert again.ctx.call(provider.ask, "a") == other
    assert again.ctx.call(provider.ask, "b")["nth"] == 3
    assert again.ctx._counters["ledger_hits"] == 2


def test_equal_requests_of_one_record_are_told_apart(open_: Open, make_step: Any) -> None:
    provider = Counting()
    step = make_step(open_())
    samples = [step.ctx.call(provider.ask, "a")["nth"] for _ in range(3)]
    again = make_step(open_())
    assert [again.ctx.call(provider.ask, "a")["nth"] for _ in range(4)] == [*samples, 4]


def test_another_attempt_takes_the_calls_of_the_first(open_: Open, make_step: Any) -> None:
    provider = Counting()
    step = make_step(open_())
    at = step.ctx.now()
    step.ctx.call(provider.ask, "a")
    step.calls.again()
    assert step.ctx.now() == at
    assert step.ctx.call(provider.ask, "a")["nth"] == 1
    assert step.ctx.call(provider.ask, "a")["nth"] == 2


@pytest.mark.parametrize(
    "changed", [{"version": "w"}, {"uid": "other"}], ids=["code version", "uid"]
)
def test_what_is_another_call(open_: Open, make_step: Any, changed: dict[str, str]) -> None:
    provider = Counting()
    make_step(open_()).ctx.call(provider.ask, "a")
    make_step(open_(), **changed).ctx.call(provider.ask, "a")
    make_step(open_("run-2")).ctx.call(provider.ask, "a")
    make_step(open_()).ctx.call(provider.ask, "a", temperature=1)
    assert len(provider.made) == 4


def test_the_address_of_the_provider_is_no_part_of_the_call(open_: Open, make_step: Any) -> None:
    provider = Counting()
    for host in ("127.0.0.1:8000", "127.0.0.1:9000"):
        info = CallInfo(kind="model", provider=host, model="m")
        make_step(open_()).ctx.call(provider.ask, "a", call_info=info)
    assert len(provider.made) == 1


@pytest.mark.parametrize(("cache", "made"), [("run", 2), ("shared", 1), ("off", 2)])
def test_caches(open_: Open, make_step: Any, cache: str, made: int) -> None:
    provider = Counting()
    make_step(open_("run-1"), cache=cache).ctx.call(provider.ask, "a")
    make_step(open_("run-2"), cache=cache).ctx.call(provider.ask, "a")
    assert len(provider.made) == made
    make_step(open_("run-2"), cache=cache).ctx.call(provider.ask, "a")
    assert len(provider.made) == made + (cache == "off")


def test_equal_shared_calls_in_flight_are_one(open_: Open, make_step: Any) -> None:
    provider, entered, go = Counting(), threading.Event(), threading.Event()
    run = open_()
    results: list[Any] = []

    def slow(prompt: str) -> dict[str, Any]:
        entered.set()
        go.wait()
        return provider.ask(prompt)

    def work(n: int) -> None:
        step = make_step(run, cache="shared")
        step.record = f"source:{n}"
        results.append(step.ctx.call(slow, "a"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    entered.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 8
    assert len(provider.made) == 1


def test_equal_shared_calls_in_flight_on_a_loop(open_: Open, make_step: Any) -> None:
    provider = Counting()
    run = open_()
    step = make_step(run, cache="shared")

    async def one(n: int) -> Any:
        CURRENT.set(Current(Named(f"source:{n}"), 0))
        return await step.ctx.call(provider.ask_async, "a")

    async def main() -> list[Any]:
        return await asyncio.gather(*(one(n) for n in range(20)))

    results = asyncio.run(main())
    assert results == [results[0]] * 20
    assert len(provider.made) == 1


def test_a_failed_leader_lets_the_next_one_call(open_: Open, make_step: Any) -> None:
    run, tries = open_(), []

    async def flaky(prompt: str) -> str:
        tries.append(prompt)
        await asyncio.sleep(0)
        if len(tries) == 1:
            raise ConnectionError("no")
        return prompt

    async def one(n: int) -> Any:
        CURRENT.set(Current(Named(f"source:{n}"), 0))
        return await make_step(run, cache="shared").ctx.call(flaky, "a")

    async def main() -> list[Any]:
        return await asyncio.gather(*(one(n) for n in range(5)), return_exceptions=True)

    results = asyncio.run(main())
    assert [type(r) for r in results].count(ConnectionError) == 1
    assert results.count("a") == 4
    assert len(tries) == 2


def test_async_calls_know_their_record_in_child_tasks(open_: Open, make_step: Any) -> None:
    provider = Counting()

    async def item(step: Any, n: int) -> list[Any]:
        CURRENT.set(Current(Named(f"source:{n}"), 0))
        return await asyncio.gather(
            *(asyncio.create_task(step.ctx.call(provider.ask_async, f"{n}/{k}")) for k in range(3))
        )

    async def main(step: Any) -> list[Any]:
        return await asyncio.gather(*(item(step, n) for n in range(4)))

    first = asyncio.run(main(make_step(open_())))
    again = asyncio.run(main(make_step(open_())))
    assert first == again
    assert len(provider.made) == 12
    run = open_()
    rows = run.store.query("SELECT DISTINCT record FROM calls ORDER BY record")
    assert [row[0] for row in rows] == [f"source:{n}" for n in range(4)]


def test_kinds_of_functions(open_: Open, make_step: Any) -> None:
    provider = Counting()

    class Callable_:
        async def __call__(self, prompt: str) -> Any:
            return provider.ask(prompt)

    def wrapper(prompt: str) -> Any:
        return provider.ask_async(prompt)

    async def main(step: Any) -> list[Any]:
        return [
            await step.ctx.call(partial(provider.ask_async, lang="en"), "a"),
            await step.ctx.call(Callable_(), "b"),
            await step.ctx.call(wrapper, "c"),
            step.ctx.call(partial(provider.ask, lang="de"), "d"),
            step.ctx.call(str.upper, "e"),
        ]

    first = asyncio.run(main(make_step(open_())))
    assert asyncio.run(main(make_step(open_()))) == first
    assert len(provider.made) == 4


def test_failed_calls_are_noted_and_made_again(open_: Open, make_step: Any) -> None:
    run = open_()
    step = make_step(run)

    def fail(prompt: str) -> str:
        raise ConnectionError("refused")

    for _ in range(2):
        with pytest.raises(ConnectionError):
            step.ctx.call(fail, "a")
        step.calls.again()
    assert step.ctx.call(lambda prompt: prompt, "a") == "a"
    run.store.drain()
    rows = run.store.query("SELECT error, output IS NULL FROM calls ORDER BY id")
    assert rows == [("ConnectionError: refused", 1), ("ConnectionError: refused", 1), (None, 0)]


def test_pack_and_unpack(open_: Open, make_step: Any) -> None:
    class Reply:
        def __init__(self, text: str) -> None:
            self.text = text

    info = CallInfo(pack=lambda reply: reply.text, unpack=Reply, request="hello")
    made: list[Reply] = []

    def ask() -> Reply:
        made.append(Reply("hi"))
        return made[-1]

    assert make_step(open_()).ctx.call(ask, call_info=info) is made[0]
    again = make_step(open_()).ctx.call(ask, call_info=info)
    assert (type(again), again.text, len(made)) == (Reply, "hi", 1)


def test_what_cannot_be_stored_is_named(open_: Open, make_step: Any) -> None:
    step = make_step(open_())
    with pytest.raises(StateEncodingError, match="step 'step'"):
        step.ctx.call(print, threading.Lock())
    with pytest.raises(StateEncodingError, match="response"):
        step.ctx.call(threading.Lock)


def test_a_call_belongs_to_a_record(open_: Open, make_step: Any) -> None:
    step = make_step(open_())
    step.record = None
    with pytest.raises(LedgerError, match="outside of the execution of an item"):
        step.ctx.call(str.upper, "a")


def test_idempotency_keys(open_: Open, make_step: Any) -> None:
    keys: list[str] = []

    def ask(prompt: str, key: str | None = None) -> str:
        keys.append(key or "none")
        if len(keys) == 1:
            raise ConnectionError
        return prompt

    info = CallInfo(key_argument="key")
    step = make_step(open_())
    with pytest.raises(ConnectionError):
        step.ctx.call(ask, "a", call_info=info)
    after_crash = make_step(open_())
    after_crash.ctx.call(ask, "a", call_info=info)
    after_crash.ctx.call(ask, "a", call_info=info)
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) == 32


def test_chance_is_the_same_again(open_: Open, make_step: Any) -> None:
    def draw(step: Any) -> list[Any]:
        return [step.ctx.random().random(), step.ctx.random().random(), step.ctx.uuid()]

    step = make_step(open_())
    first = draw(step)
    assert first[0] != first[1]
    assert first[2].version == 4
    step.record = "source:1"
    assert draw(step) != first
    assert draw(make_step(open_())) == first
    assert draw(make_step(open_("run-2"))) != first


def test_replay_makes_no_call(open_: Open, make_step: Any) -> None:
    provider = Counting()
    step = make_step(open_())
    first = step.ctx.call(provider.ask, "what is the weather in Paris?"), step.ctx.now()
    replay = make_step(open_(mode="replay"))
    assert (
        replay.ctx.call(provider.ask, "what is the weather in Paris?"),
        replay.ctx.now(),
    ) == first
    with pytest.raises(LedgerMissError) as caught:
        replay.ctx.call(provider.ask, "what is the weather in Rome?")
    assert len(provider.made) == 1
    error = caught.value
    assert (error.step, error.record) == ("step", "source:0")
    assert "Paris" in error.nearest
    assert '-  "what is the weather in Paris?"' in str(error)
    assert '+  "what is the weather in Rome?"' in str(error)


def test_a_miss_says_when_only_the_code_differs(open_: Open, make_step: Any) -> None:
    make_step(open_()).ctx.call(str.upper, "a")
    with pytest.raises(LedgerMissError, match="other code of the step"):
        make_step(open_(mode="replay"), version="w").ctx.call(str.upper, "a")
    replay = make_step(open_(mode="replay"))
    replay.ctx.call(str.upper, "a")
    with pytest.raises(LedgerMissError, match="this is number 1"):
        replay.ctx.call(str.upper, "a")
    with pytest.raises(LedgerMissError, match="no call of this step was recorded"):
        make_step(open_(mode="replay"), uid="other").ctx.call(str.upper, "a")
    with pytest.raises(LedgerError, match="is not in the ledger"):
        open_("run-9", mode="replay")


def test_a_fork_takes_calls_of_the_parent_but_not_of_fresh_steps(
    open_: Open, make_step: Any
) -> None:
    provider = Counting()
    run = open_()
    before = make_step(run, uid="before")
    drawn = before.ctx.uuid()
    before.ctx.call(provider.ask, "a")
    make_step(run, uid="after").ctx.call(provider.ask, "b")
    fork = open_("run-2", mode="fork", parent="run-1", fresh=["after"])
    first, second = make_step(fork, uid="before"), make_step(fork, uid="after")
    assert first.ctx.uuid() == drawn
    assert first.ctx.call(provider.ask, "a")["nth"] == 1
    assert second.ctx.call(provider.ask, "b")["nth"] == 3
    # The fork has its own copy: it can be repeated without its parent.
    assert make_step(open_("run-2", mode="replay"), uid="before").ctx.call(provider.ask, "a")
    assert len(provider.made) == 3


def test_many_requests_in_one_call(open_: Open, make_step: Any) -> None:
    sent: list[list[str]] = []

    class Vectors(list[int]):
        pass

    def embed(texts: list[str]) -> Vectors:
        sent.append(texts)
        return Vectors(len(text) for text in texts)

    def used(response: Any) -> CallUsage:
        assert isinstance(response, Vectors), "what the function returned, as it is"
        return CallUsage(10)

    info = CallInfo(kind="embedding", model="m", usage=used)

    def batch(step: Any, first: int, texts: list[str]) -> Any:
        CURRENT.set(Current(Lineage(), first, len(texts)))
        try:
            return step.ctx.call_many(embed, texts, call_info=info)
        finally:
            CURRENT.set(None)

    class Lineage:
        def resolve(self, position: int) -> str:
            return f"source:{position}"

    run = open_()
    assert batch(make_step(run), 0, ["a", "bb", "ccc"]) == [1, 2, 3]
    # After a crash the batches form in another way.
    assert batch(make_step(open_()), 2, ["ccc", "dddd"]) == [3, 4]
    assert sent == [["a", "bb", "ccc"], ["dddd"]]
    tokens = run.store.query("SELECT sum(input_tokens), count(*) FROM calls")
    assert tokens == [(20, 4)]


def test_many_requests_of_one_record_async(open_: Open, make_step: Any) -> None:
    sent: list[list[str]] = []

    async def embed(texts: list[str]) -> list[int]:
        sent.append(texts)
        return [len(text) for text in texts]

    async def main(step: Any) -> Any:
        CURRENT.set(Current(Named("source:0"), 0))
        return await step.ctx.call_many(embed, ["a", "bb"])

    assert asyncio.run(main(make_step(open_()))) == [1, 2]
    assert asyncio.run(main(make_step(open_()))) == [1, 2]
    assert sent == [["a", "bb"]]


@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [5, 1, 994], [0, 0]])
def test_shares_add_up(sizes: list[int]) -> None:
    whole = CallUsage(1000, 7, 3, cost=Decimal("0.01"))
    parts = share_out(whole, sizes)
    assert sum(p.input_tokens for p in parts) == 1000
    assert sum(p.output_tokens for p in parts) == 7
    assert sum(p.cached_tokens for p in parts) == 3
    assert sum(p.cost for p in parts) == Decimal("0.01")


def test_listeners_hear_of_calls(open_: Open, make_step: Any) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    run = open_()
    run.notify = lambda event, **facts: heard.append((event, facts))
    step = make_step(run)
    info = CallInfo(kind="model", model="m", usage=lambda r: CallUsage(1, 2, model="m-1"))
    step.ctx.call(str.upper, "a", call_info=info)
    step.ctx.now()
    with pytest.raises(ZeroDivisionError):
        step.ctx.call(lambda: 1 / 0)
    assert [event for event, _ in heard] == ["call_started", "call_finished"] * 2
    started, finished = heard[0][1], heard[1][1]
    assert started["call_id"] == finished["call_id"]
    assert (started["model"], finished["model"]) == ("m", "m-1")
    assert finished["usage"].output_tokens == 2
    assert isinstance(heard[3][1]["error"], ZeroDivisionError)
