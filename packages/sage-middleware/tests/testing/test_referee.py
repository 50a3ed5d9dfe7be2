from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ModelError
from sage.middleware.models.openai_client import OpenAIClient
from sage.middleware.models.retry import RetryRule
from sage.middleware.testing.referee import FAULTS, Referee, RefereeSettings
from sage.middleware.testing.referee.rules import Allowance, answer_of, draw_fault, vector_of
from sage.middleware.utils.embedding.remote.openai import OpenAIEmbedder


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(
        prices={"dear": (Decimal(10), Decimal("30.5")), "*": (Decimal(1), Decimal(2))}
    ) as r:
        yield r


@pytest.fixture(autouse=True)
def _fresh(referee: Referee) -> None:
    referee.reset()


def ask(
    url: str, *prompts: str, model: str = "m", retry: RetryRule | None = None, **params: Any
) -> Any:
    async def run() -> list[Any]:
        client = OpenAIClient(url, retry=retry or RetryRule(base=0.01), timeout=10)
        try:
            return await asyncio.gather(
                *(
                    client.chat([{"role": "user", "content": prompt}], model=model, **params)
                    for prompt in prompts
                ),
                return_exceptions=True,
            )
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_calls_tokens_and_money_are_counted(referee: Referee) -> None:
    replies = ask(referee.url, "one two three", "four five", model="dear", max_tokens=20)
    found = referee.summary()
    into = sum(reply.input_tokens for reply in replies)
    out = sum(reply.output_tokens for reply in replies)
    assert (found["calls"], found["answered"], found["statuses"]) == (2, 2, {"200": 2})
    assert (found["input_tokens"], found["output_tokens"]) == (into, out) == (5, out)
    assert Decimal(found["bill"]) == (into * 10 + out * Decimal("30.5")) / 1_000_000
    assert sum(Decimal(call["cost"]) for call in referee.calls()) == Decimal(found["bill"])
    assert all(0 < reply.output_tokens <= 20 for reply in replies)


def test_answers_are_a_function_of_the_request(referee: Referee) -> None:
    first, second, other = ask(referee.url, "same", "same", "other")
    assert first.text == second.text != other.text
    (streamed,) = ask(referee.url, "same", stream=True)
    assert (streamed.text, streamed.output_tokens) == (first.text, first.output_tokens)


def test_repeats_are_seen_by_request_and_by_key(referee: Referee) -> None:
    ask(referee.url, "a", "a", "b")
    assert referee.summary()["repeats_by_body"] == 1

    async def keyed() -> None:
        client = OpenAIClient(referee.url, headers={"Idempotency-Key": "k"})
        for text in ("c", "d"):
            await client.chat([{"role": "user", "content": text}], model="m")
        await client.aclose()

    asyncio.run(keyed())
    found = referee.summary()
    assert (found["repeats_by_key"], found["repeats_by_body"], found["without_key"]) == (1, 1, 3)
    assert [call["idempotency_key"] for call in referee.calls(3)] == ["k", "k"]


def test_embeddings_are_served_counted_and_normalised(referee: Referee) -> None:
    with OpenAIEmbedder("e", base_url=referee.url, dimensions=16) as numbers:
        vectors = numbers.embed_many(["one two", "three"])
    with OpenAIEmbedder("e", base_url=referee.url, dimensions=16, encoding="float") as numbers:
        assert np.allclose(vectors, numbers.embed_many(["one two", "three"]), atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    found = referee.summary()
    assert (found["answered"], found["input_tokens"], found["output_tokens"]) == (2, 6, 0)


def test_wait_answers_when_so_many_calls_have_come(referee: Referee) -> None:
    ask(referee.url, *map(str, range(5)))
    assert referee.wait(calls=5)["calls"] == 5
    assert referee.wait(answered=5)["answered"] == 5
    with pytest.raises(TimeoutError):
        referee.wait(calls=6, timeout=0.2)


def test_no_json_is_refused_and_not_counted(referee: Referee) -> None:
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{referee.url}/chat/completions", b"{", timeout=10)
    with refused.value as answer:
        assert answer.status == 400
    assert referee.summary()["calls"] == 0


def test_limits_are_enforced_and_said_in_headers() -> None:
    # One request at once, the next after a fifth of a second.
    with Referee(rpm=300, window=0.1) as strict:
        first, second = ask(strict.url, "a", "b", retry=RetryRule(max_retries=0))
        refused = first if isinstance(first, ModelError) else second
        assert isinstance(refused, ModelError)
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        assert 0 < refused.retry_after <= 0.2
        assert strict.summary()["statuses"] == {"200": 1, "429": 1}
    with Referee(tpm=6000, window=1) as strict:
        (small,) = ask(strict.url, "a", max_tokens=50)
        assert small.text
        (large,) = ask(strict.url, "a", max_tokens=500, retry=RetryRule(max_retries=0))
        assert "too large" in str(large)


FAULTY = {"429": 0.15, "500": 0.15, "503": 0.1, "drop": 0.1, "drop_after": 0.1, "garbage": 0.1}


def test_faults_are_drawn_from_the_seed_and_retries_get_through() -> None:
    prompts = [f"prompt {n}" for n in range(60)]
    seen = []
    for _ in range(2):
        with Referee(seed=7, faults=FAULTY, retry_after=0.01) as faulty:
            replies = ask(faulty.url, *prompts)
            assert all(reply.text for reply in replies)
            found = faulty.summary()
            seen.append(sorted((c["body"], c["fault"]) for c in faulty.calls()))
            kinds = {call["fault"] for call in faulty.calls()}
            assert kinds == {"ok", *FAULTY}
            # What was worked on is on the bill, also where the answer did not get through.
            lost = sum(c["fault"] in ("drop_after", "garbage") for c in faulty.calls())
            assert found["answered"] == len(prompts) + lost
            assert found["repeats_by_body"] == lost
    assert seen[0] == seen[1]


def test_a_hanging_call_times_out_and_is_not_on_the_bill() -> None:
    with Referee(faults={"hang": 1.0}, most_attempts=1) as hanging:

        async def run() -> Any:
            client = OpenAIClient(hanging.url, timeout=0.3, retry=RetryRule(base=0.01))
            try:
                return await client.chat([{"role": "user", "content": "a"}], model="m")
            finally:
                await client.aclose()

        assert asyncio.run(run()).retries == 1
        assert (hanging.summary()["calls"], hanging.summary()["answered"]) == (2, 1)


def test_it_ends_with_the_process_that_started_it() -> None:
    program = """
from sage.middleware.testing.referee import Referee
import os, signal
with Referee() as referee:
    print(referee.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    found = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(found.stdout)
    # The referee held the other end of the pipe that was just read to its end, or is about to go.
    while _lives(pid):
        os.sched_yield()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_wrong_rules_are_named() -> None:
    for faults, message in (
        ({"flood": 0.1}, "unknown fault 'flood'"),
        ({"500": 1.5}, "must be 0 to 1"),
        ({"500": 0.6, "429": 0.6}, "more than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            RefereeSettings(faults=faults)
    done = subprocess.run(
        [sys.executable, "-m", "sage.middleware.testing.referee", "--fault", "500"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, "expected NAME=VALUE" in done.stderr) == (2, True)


def test_faults_come_with_their_shares() -> None:
    drawn = [draw_fault({"500": 0.3, "drop": 0.2}, str(n)) for n in range(4000)]
    for kind, share in (("500", 0.3), ("drop", 0.2), ("ok", 0.5)):
        assert drawn.count(kind) / 4000 == pytest.approx(share, abs=0.03)
    assert set(FAULTS) >= {"500", "drop"}


def test_answers_and_vectors_are_pure() -> None:
    texts = [answer_of(f"p{n}", 30, 1) for n in range(100)]
    assert len(set(texts)) == 100
    assert {len(text.split()) for text in texts} > {1, 20}
    assert max(len(text.split()) for text in texts) <= 30
    assert vector_of("a", 8) == vector_of("a", 8) != vector_of("b", 8)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 200)), max_size=40))
def test_an_allowance_never_lets_more_through_than_rate_and_window(
    calls: list[tuple[float, int]],
) -> None:
    bucket, now, used = Allowance(600, 5), 0.0, 0.0
    for gap, units in calls:
        now += gap
        wait = bucket.lacking(units, now)
        if wait == 0:
            bucket.take(units)
            used += units
        assert used <= 50 + now * 10 + 1e-6
        if units > 50:
            assert wait == float("inf")
