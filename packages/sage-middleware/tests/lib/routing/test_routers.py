import asyncio
import threading
from collections import Counter

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.errors import ItemError
from sage.lib.routing import ConditionalRouter, FallbackHandler, LoadBalancer, Sample
from sage.lib.routing.balance import Balance
from sage.lib.types import Document, Query, Retrieved


def routes(items, router, config, names):
    """Sends items through a router in a job; the items by route, the rest under ``None``."""
    seen = {name: [] for name in (*names, None)}
    env = LocalEnvironment("routing")
    routed = env.from_collection(items).route(router, config)
    for name in names:
        routed[name].sink(seen[name].append)
    routed.default.sink(seen[None].append)
    env.submit().wait(60)
    return seen


def mapped(items, operator, config, **options):
    seen = []
    env = LocalEnvironment("routing")
    env.from_collection(items).map(operator, config, **options).sink(seen.append)
    env.submit().wait(60)
    return seen


def retrieved(score):
    return Retrieved(
        query=Query(text="q", metadata={"topic": "law"}),
        passages=(Document(id="d", text="t", score=score),),
    )


def test_the_first_rule_that_holds_names_the_route():
    rules = [
        {"route": "sure", "when": {"score": {"$gte": 0.5}, "topic": "law"}},
        {"route": "long", "when": {"length": {"$gt": 9}}},
        {"route": "plain", "if": lambda item: item == "plain"},
    ]
    sure, unsure, long = retrieved(0.9), retrieved(0.1), "a long question"
    seen = routes(
        [sure, unsure, long, "plain", "other"],
        "ConditionalRouter",
        {"rules": rules, "default": "rest"},
        ["sure", "long", "plain"],
    )
    assert seen == {"sure": [sure], "long": [long], "plain": ["plain"], None: [unsure, "other"]}


@pytest.mark.parametrize(
    "rules", [[], ["x"], [{"route": "a"}], [{"route": "a", "if": 3}], [{"when": {}}]]
)
def test_rules_that_cannot_be_meant_are_refused(rules):
    with pytest.raises(ConfigError, match="rules"):
        ConditionalRouter({"rules": rules})


def test_round_robin_and_weights_over_routes():
    seen = routes(list(range(9)), LoadBalancer, {"targets": ["a", "b", "c"]}, "abc")
    assert [len(seen[name]) for name in "abc"] == [3, 3, 3]
    weighted = {"targets": ["a", "b"], "weights": [2, 1]}
    seen = routes(list(range(9)), LoadBalancer, weighted, "ab")
    assert [len(seen[name]) for name in "ab"] == [6, 3]


def test_weights_are_spread_evenly():
    balance = Balance([5, 1, 1])
    assert [balance.weighted() for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]


def test_a_key_sticks_to_its_target():
    items = [{"user": n % 20, "n": n} for n in range(100)]
    config = {"targets": ["a", "b", "c"], "strategy": "sticky", "key": "user"}
    seen = routes(items, LoadBalancer, config, "abc")
    users = [{item["user"] for item in seen[name]} for name in "abc"]
    assert sum(len(found) for found in users) == 20
    assert all(users)
    with pytest.raises(JobFailedError, match="no key to stick to"):
        routes([{"n": 1}], LoadBalancer, config, "abc")


def test_few_keys_move_when_a_target_comes():
    before = [Balance([1, 1, 1]).sticky(str(n)) for n in range(1000)]
    after = [Balance([1, 1, 1, 1]).sticky(str(n)) for n in range(1000)]
    moved = [b for a, b in zip(before, after, strict=True) if a != b]
    assert set(moved) == {3}
    assert 180 < len(moved) < 320
    shares = Counter(Balance([3, 1]).sticky(str(n)) for n in range(1000))
    assert 680 < shares[0] < 820


def test_least_in_flight_avoids_the_busy_step(context):
    async def run():
        gate = asyncio.Event()

        async def slow(item):
            await gate.wait()
            return "slow"

        async def fast(item):
            return "fast"

        balancer = LoadBalancer({"steps": [slow, fast], "strategy": "least_in_flight"})
        balancer.ctx = context()
        balancer.open(balancer.ctx)
        first = asyncio.create_task(balancer.execute(0))
        await asyncio.sleep(0)
        rest = [await balancer.execute(n) for n in range(5)]
        gate.set()
        assert await first == "slow"
        balancer.close()
        return rest

    assert asyncio.run(run()) == ["fast"] * 5


def test_steps_are_operators_with_configs():
    steps = [
        {"operator": "QAPromptor", "config": {"template": "one {query}"}},
        {"operator": "QAPromptor", "config": {"template": "two {query}"}, "name": "second"},
    ]
    seen = mapped(["q"] * 4, "LoadBalancer", {"steps": steps}, concurrency=1)
    assert [p.messages[0].content for p in seen] == ["one q", "two q"] * 2


def test_wrong_balancers_are_refused():
    with pytest.raises(ConfigError, match="either targets"):
        LoadBalancer({})
    with pytest.raises(ConfigError, match="needs steps"):
        LoadBalancer({"targets": ["a"], "strategy": "least_in_flight"})
    with pytest.raises(ConfigError, match="2 numbers above 0"):
        LoadBalancer({"targets": ["a", "b"], "weights": [1, 0]})
    with pytest.raises(ConfigError, match=r"steps\[0\]"):
        LoadBalancer({"steps": [{"op": "x"}]})


def broken(item):
    raise ItemError(f"cannot do {item}")


def test_an_error_goes_to_the_next_step():
    steps = [broken, {"operator": "QAPromptor", "config": {"template": "ok {query}"}}]
    seen = mapped(["q"], "FallbackHandler", {"steps": steps})
    assert seen[0].messages[0].content == "ok q"
    with pytest.raises(JobFailedError, match="cannot do q"):
        mapped(["q"], FallbackHandler, {"steps": [broken, broken]})


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_step_that_is_too_slow_is_passed_over(colour):
    release = threading.Event()

    async def hangs(item):
        await asyncio.Event().wait()

    def blocks(item):
        release.wait(60)

    steps = [hangs if colour == "async" else blocks, lambda item: f"backup {item}"]
    try:
        seen = mapped([1], FallbackHandler, {"steps": steps, "timeout": 0.05})
    finally:
        release.set()
    assert seen == ["backup 1"]


def test_a_low_score_goes_to_the_next_step():
    def unsure(item):
        return retrieved(0.2)

    def sure(item):
        return retrieved(0.8)

    def silent(item):
        return "no score"

    config = {"steps": [silent, unsure, sure], "min_score": 0.5}
    assert mapped(["q"], FallbackHandler, config) == [retrieved(0.8)]
    config["min_score"] = 0.9
    assert mapped(["q"], FallbackHandler, config) == [retrieved(0.8)]
    with pytest.raises(JobFailedError, match=r"below 0\.9"):
        mapped(["q"], FallbackHandler, {**config, "low": "fail"})
    by_function = {"steps": [unsure, sure], "min_score": 1, "score": lambda r: len(r.passages)}
    assert mapped(["q"], FallbackHandler, by_function) == [retrieved(0.2)]


def sampled(config, items=range(1000)):
    seen = []
    env = LocalEnvironment("sample")
    env.from_collection(list(items)).filter("Sample", config).sink(seen.append)
    env.submit().wait(60)
    return seen


def test_a_sample_is_the_same_every_time():
    first = sampled({"rate": 0.1, "seed": 7})
    assert first == sampled({"rate": 0.1, "seed": 7})
    assert first != sampled({"rate": 0.1, "seed": 8})
    assert 60 < len(first) < 140
    assert sampled({"rate": 1.0, "limit": 3}) == [0, 1, 2]
    assert sampled({"rate": 0.0}) == []
    with pytest.raises(ConfigError, match="rate"):
        Sample({"rate": 1.5})
