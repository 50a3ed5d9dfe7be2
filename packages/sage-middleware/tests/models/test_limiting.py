"""Rate limits and budgets with real jobs against the referee."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError, TaskFailedError
from sage.kernel.scheduling.registry import process_limits
from sage.lib.evaluate import AnswerRelevancyEvaluate
from sage.lib.rag.generator.openai import OpenAIGenerator
from sage.lib.types import Answer, Query
from sage.middleware.testing.referee import Referee
from sage.middleware.utils.embedding.remote.openai import OpenAIEmbedder

PRICES = {"m": (Decimal(100), Decimal(200))}
OWN = {"m": {"input": 100.0, "output": 200.0}}


@pytest.fixture(scope="module")
def server() -> Iterator[Referee]:
    with Referee(prices=PRICES, latency=0.005) as running:
        yield running


@pytest.fixture
def referee(server: Referee) -> Referee:
    server.reset()
    return server


def until(condition: Callable[[], Any]) -> Any:
    while not (found := condition()):
        time.sleep(0.002)
    return found


def pipeline(
    referee: Referee, n: int, config: dict[str, Any], **generator: Any
) -> tuple[LocalEnvironment, list[Any]]:
    env = LocalEnvironment("limited", config)
    answers: list[Any] = []
    settings = {"model": "m", "base_url": referee.url, "max_tokens": 10, **generator}
    prompts = [f"prompt number {i}" for i in range(n)]
    env.from_collection(prompts).map(OpenAIGenerator, settings, concurrency=8, name="ask").sink(
        answers.append
    )
    return env, answers


def host(referee: Referee) -> str:
    return referee.url.removeprefix("http://").removesuffix("/v1")


def budget_events(job: Any) -> list[dict[str, Any]]:
    return [event for event in job.events() if event.get("event") == "BUDGET"]


# ------------------------------------------------------------------ limits


def test_configured_limits_hold_for_all_jobs_of_the_process() -> None:
    # Ten requests at once and then 20 per second; the server itself would refuse more.
    with Referee(rpm=1200, window=2.5) as strict:
        limits = {f"{host(strict)}/m": {"rpm": 1200}}
        jobs = []
        for _ in range(2):
            env, answers = pipeline(strict, 45, {"limits": limits})
            jobs.append((env.submit(), answers))
        for job, answers in jobs:
            job.wait()
            assert len(answers) == 45
        assert strict.summary()["statuses"] == {"200": 90}
        shown = jobs[0][0].metrics()["limits"][f"{host(strict)}/m"]
        assert (shown["rpm"], shown["rpm_from"], shown["calls"]) == (1200, "configured", 90)
        assert shown["wait_seconds"] > 1
        assert shown["throttled"] == shown["waiting"] == 0
        text = jobs[0][0].prometheus()
        assert f'sage_ratelimit_calls_total{{provider="{host(strict)}",model="m"' in text
        assert "sage_ratelimit_wait_seconds_total{" in text


def test_limits_are_taken_from_the_headers_and_refusals_end() -> None:
    with Referee(rpm=1200, window=3) as strict:
        env, answers = pipeline(strict, 90, {}, max_retries=9)
        env.submit().wait()
        assert len(answers) == 90
        found = strict.summary()["statuses"]
        assert found["200"] == 90
        assert found.get("429", 0) <= 8  # at most those that were in flight at the first refusal
        shown = process_limits().snapshot()[f"{host(strict)}/m"]
        assert (shown["rpm_from"], shown["throttled"]) == ("headers", found.get("429", 0))


def test_embedders_and_generators_pass_the_limiter_once_per_attempt(referee: Referee) -> None:
    with Referee(faults={"500": 0.3}, seed=3) as faulty:
        env, _ = pipeline(faulty, 30, {})
        env.submit().wait()
        with OpenAIEmbedder("e", base_url=faulty.url, batch_size=2) as model:
            model.embed_many([f"text {n}" for n in range(20)])
        limits = process_limits().snapshot()
        calls = faulty.calls()
        for kind, model_name in (("chat", "m"), ("embeddings", "e")):
            made = [call for call in calls if call["kind"] == kind]
            shown = limits[f"{host(faulty)}/{model_name}"]
            assert shown["calls"] == len(made)
            billed = [call for call in made if call["cost"] is not None]
            assert shown["tokens"] == sum(c["input_tokens"] + c["output_tokens"] for c in billed)
        assert len(calls) > 40


def test_a_canceled_job_leaves_the_queue_at_once(referee: Referee) -> None:
    with Referee() as slow:
        limits = {f"{host(slow)}": {"rpm": 1}}
        env, _ = pipeline(slow, 50, {"limits": limits})
        job = env.submit()
        until(lambda: process_limits().snapshot().get(f"{host(slow)}/m", {}).get("waiting", 0) >= 7)
        assert job.cancel(timeout=30)
        assert process_limits().snapshot()[f"{host(slow)}/m"]["waiting"] == 0


def test_a_canceled_job_ends_the_waits_of_its_synchronous_steps(referee: Referee) -> None:
    with Referee() as slow:
        env = LocalEnvironment("embeds", {"limits": {f"{host(slow)}": {"rpm": 1}}})
        model = OpenAIEmbedder("e", base_url=slow.url, batch_size=1)
        env.from_collection([["a", "b", "c"], ["d"]]).map(model.embed_many).sink(print)
        job = env.submit()
        until(lambda: process_limits().snapshot().get(f"{host(slow)}/e", {}).get("waiting", 0) >= 2)
        assert job.cancel(timeout=30)
        assert process_limits().snapshot()[f"{host(slow)}/e"]["waiting"] == 0


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize(
    ("budget", "more"),
    [
        ({"calls": 12}, {"calls": 30}),
        ({"tokens": 150}, {"tokens": 10_000}),
        ({"money": "0.02"}, {"money": 1}),
    ],
)
def test_a_spent_budget_pauses_the_job_and_nothing_is_lost(
    referee: Referee, budget: dict[str, Any], more: dict[str, Any]
) -> None:
    env, answers = pipeline(referee, 30, {"budget": budget}, prices=OWN)
    job = env.submit()
    until(lambda: job.status == "PAUSED")
    (event,) = budget_events(job)
    (name,) = budget
    assert event["exhausted"] == [name]
    assert "job.resume(budget=...)" in event["go_on"]
    spent = job.metrics()["budget"]["spent"]
    found = referee.summary()
    assert Decimal(spent["money"]) == Decimal(found["bill"])
    assert spent["tokens"] == found["input_tokens"] + found["output_tokens"]
    assert spent["calls"] == found["calls"] < 30
    assert Decimal(str(spent[name])) <= Decimal(str(budget[name]))
    if name == "calls":
        assert spent["calls"] == 12
    job.resume()  # without more it pauses again
    until(lambda: len(budget_events(job)) == 2)
    until(lambda: job.status == "PAUSED")
    assert referee.summary()["calls"] == found["calls"]
    job.resume(budget=more)
    job.wait()
    assert len(answers) == 30
    assert [a.prompt.messages[-1].content for a in answers] == [
        f"prompt number {i}" for i in range(30)
    ]
    assert (referee.summary()["calls"], referee.summary()["repeats_by_body"]) == (30, 0)


def test_a_run_that_goes_on_has_spent_what_its_ledger_says(
    referee: Referee, tmp_path: Path
) -> None:
    def submit(calls: int) -> tuple[Any, list[Any]]:
        durable = {"store": str(tmp_path), "interval": None}
        config = {"budget": {"calls": calls}, "fault_tolerance": durable}
        env, answers = pipeline(referee, 10, config)
        return env.submit(), answers

    job, _ = submit(4)
    until(lambda: job.status == "PAUSED")
    assert job.cancel(timeout=30)
    job, _ = submit(4)  # the same run: nothing is left
    until(lambda: job.status == "PAUSED")
    assert referee.summary()["calls"] == 4
    job.resume(budget={"calls": 10})
    job.wait()
    assert referee.summary()["calls"] == 10
    assert job.metrics()["budget"]["spent"]["calls"] == 10


def test_a_job_within_its_budget_does_not_notice(referee: Referee) -> None:
    config = {"budget": {"calls": 20, "tokens": 5000, "money": 1}}
    env, answers = pipeline(referee, 20, config, prices=OWN)
    job = env.submit().wait()
    assert len(answers) == 20
    assert budget_events(job) == []
    assert job.metrics()["budget"]["spent"]["calls"] == 20


def test_a_paused_job_can_be_canceled(referee: Referee) -> None:
    env, _ = pipeline(referee, 30, {"budget": {"calls": 3}})
    job = env.submit()
    until(lambda: job.status == "PAUSED")
    assert job.cancel(timeout=30)
    assert job.status == "CANCELED"
    assert referee.summary()["calls"] == 3


def test_a_job_that_fails_does_not_wait_for_money(referee: Referee) -> None:
    paused = threading.Event()

    def fail(item: Any) -> None:
        paused.wait()
        raise ValueError("no")

    env, _ = pipeline(referee, 5, {"budget": {"calls": 1}})
    env.from_collection([1]).sink(fail)
    job = env.submit()
    until(lambda: budget_events(job))
    paused.set()
    with pytest.raises(JobFailedError, match="no"):
        job.wait(60)


def test_money_needs_a_price(referee: Referee) -> None:
    env, _ = pipeline(referee, 5, {"budget": {"money": 1}}, model="nobody-knows-it")
    named = f"price of the model 'nobody-knows-it' at {host(referee)} is not known"
    with pytest.raises(TaskFailedError, match=named):
        env.submit().wait()
    assert referee.summary()["calls"] == 0


def test_a_judge_has_prices_of_its_own(referee: Referee, tmp_path: Path) -> None:
    durable = {"store": str(tmp_path), "interval": None}
    env = LocalEnvironment("judged", {"budget": {"money": 1}, "fault_tolerance": durable})
    answer = Answer(text="Paris.", query=Query(text="Capital?"))
    judge = {"judge": "m", "base_url": referee.url, "prices": OWN}
    env.from_collection([answer], type=Answer).map(AnswerRelevancyEvaluate, judge).sink(repr)
    job = env.submit().wait()
    bill = Decimal(referee.summary()["bill"])
    assert Decimal(job.metrics()["budget"]["spent"]["money"]) == bill > 0
    assert job.cost().total.cost == bill


def test_a_call_without_an_answer_counts_as_expected() -> None:
    with Referee(faults={"garbage": 1.0}, most_attempts=1, prices=PRICES) as faulty:
        env, answers = pipeline(faulty, 4, {"budget": {"money": 10}}, prices=OWN)
        job = env.submit().wait()
        assert len(answers) == 4
        spent = job.metrics()["budget"]["spent"]
        assert spent["calls"] == faulty.summary()["calls"] == 8
        assert Decimal(spent["money"]) >= Decimal(faulty.summary()["bill"])


def test_wrong_settings_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"budget: unknown key 'cost'"):
        LocalEnvironment("x", {"budget": {"cost": 1}})
    with pytest.raises(ConfigError, match=r"'currency'; expected money \(USD,"):
        LocalEnvironment("x", {"budget": {"money": 100, "currency": "JPY"}})
    with pytest.raises(ConfigError, match=r"budget\.money: must be an amount"):
        LocalEnvironment("x", {"budget": {"money": "much"}})
    with pytest.raises(ConfigError, match=r"limits\.openai: unknown key 'rps'"):
        LocalEnvironment("x", {"limits": {"openai": {"rps": 1}}})


def test_a_budget_cannot_be_added_to_a_job_without(referee: Referee) -> None:
    env, _ = pipeline(referee, 1, {})
    job = env.submit().wait()
    with pytest.raises(ConfigError, match="started without a budget"):
        job.resume(budget={"calls": 1})
