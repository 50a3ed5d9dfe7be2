from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.scheduling.bucket import LONGEST_BLOCK, Bucket
from sage.kernel.scheduling.gauge import ADOPTED, CONFIGURED, LEARNED
from sage.kernel.scheduling.headers import NOTHING, Facts, read_facts, seconds_of
from sage.kernel.scheduling.limits import Limit


def bucket(rpm: float | None = None, tpm: float | None = None) -> Bucket:
    made = Bucket()
    made.advance(0.0)
    made.configure(Limit(rpm, tpm))
    return made


def test_the_scarcer_of_both_limits_decides() -> None:
    made = bucket(rpm=60, tpm=6000)
    first = made.reserve(1000, 0.0)
    assert made.wait(first, 0.0) == 0
    assert made.wait(made.reserve(1, 0.0), 0.0) == pytest.approx((1001 - 200) / 100)
    scarce = bucket(rpm=60, tpm=6e6)
    assert [scarce.wait(scarce.reserve(1000, 0.0), 0.0) for _ in range(4)] == [0, 0, 1, 2]


def test_retry_after_stops_everybody() -> None:
    made = bucket()
    waiting = made.reserve(1, 0.0)
    made.refused(NOTHING, 7.0, 0.0)
    assert made.wait(waiting, 0.0) == 7
    assert made.wait(made.reserve(1, 3.0), 3.0) == 4
    assert made.wait(waiting, 7.0) == 0
    assert made.throttled == 1


def test_a_day_long_retry_after_is_found_out_again_after_a_minute() -> None:
    made = bucket()
    made.refused(NOTHING, 86_400.0, 0.0)
    assert made.wait(made.reserve(1, 0.0), 0.0) == LONGEST_BLOCK


def test_a_refusal_that_names_its_limit_slows_only_that_one() -> None:
    made = bucket(rpm=600, tpm=60_000)
    made.refused(Facts(600, 12, 60_000, 0), None, 0.0)
    assert made.tokens.factor < 1 == made.requests.factor
    made.refused(NOTHING, None, 5.0)
    assert made.requests.factor < 1


def test_limits_of_the_headers_are_taken_over_unless_configured() -> None:
    made = bucket(rpm=60)
    made.observe(Facts(500, 499, 200_000, 199_000))
    assert (made.requests.limit, made.requests.origin) == (60, CONFIGURED)
    assert (made.tokens.limit, made.tokens.origin) == (200_000, ADOPTED)
    made.observe(Facts(500, 499, 400_000, 399_000))
    assert made.tokens.limit == 400_000


def test_headers_correct_a_learned_limit() -> None:
    made = bucket()
    made.refused(NOTHING, None, 0.0)
    assert made.requests.limit == 0  # nothing was seen to learn from
    for _ in range(10):
        made.start(made.reserve(10, 0.0), 0.0, 0.0)
    made.refused(NOTHING, None, 0.5)
    assert made.requests.origin == LEARNED
    made.observe(Facts(limit_requests=100, remaining_requests=50))
    assert (made.requests.limit, made.requests.origin) == (100, ADOPTED)


def test_a_setting_can_be_taken_back() -> None:
    made = bucket(rpm=1, tpm=1)
    made.configure(Limit())
    assert made.wait(made.reserve(1000, 0.0), 0.0) == 0


def test_estimates_follow_what_the_server_counts() -> None:
    made = bucket()
    assert made.expect(100, 50) == (100, 50)
    for _ in range(200):
        made.learn(100, 130, 20)
    assert made.expect(100, 50) == (pytest.approx(130, rel=0.01), 50)
    assert made.expect(100, None) == pytest.approx((130, 20), rel=0.01)


def test_who_withdraws_gives_the_place_to_those_behind() -> None:
    made = bucket(rpm=60)
    tickets = [made.reserve(1, 0.0) for _ in range(4)]
    before = made.wait(tickets[3], 0.0)
    made.withdraw(tickets[2], 0.0)
    assert made.wait(tickets[3], 0.0) == pytest.approx(before - 1)


def test_a_clock_that_goes_back_neither_grants_nor_blocks_for_long() -> None:
    made = bucket(rpm=60)
    for _ in range(3):
        made.reserve(1, 1e9)
    made.refused(NOTHING, 5.0, 1e9)
    assert made.wait(made.reserve(1, 10.0), 10.0) <= LONGEST_BLOCK
    assert made.wait(made.reserve(1, 80.0), 80.0) < 5


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 5000), st.sampled_from(["ok", "429", "gone"])),
        max_size=30,
    ),
    st.floats(1, 1e5),
)
def test_a_bucket_survives_packing(steps: list[tuple[float, float, str]], limit: float) -> None:
    kept, packed, now = bucket(limit, limit * 100), bucket(limit, limit * 100), 0.0
    for gap, tokens, end in steps:
        now += gap
        waits = []
        for made in (kept, packed):
            ticket = made.reserve(tokens, now)
            waits.append(made.wait(ticket, now))
            made.start(ticket, now, 0.0)
            if end == "429":
                made.refused(NOTHING, gap, now)
            elif end == "ok":
                made.settle(ticket, tokens / 2, now)
        assert waits[0] == waits[1]
        data = packed.pack()
        assert len(data) == Bucket.SIZE
        packed = Bucket.unpack(data)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("250ms", 0.25), ("1h2m3.5s", 3723.5), ("7", 7), ("0", 0),
     ("1d", 86_400), ("20µs", 2e-5), ("", None), ("soon", None), ("1s!", None), ("-1", None),
     ("nan", None), (None, None)],
)  # fmt: skip
def test_durations(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


def test_facts_of_headers() -> None:
    assert read_facts({}) is NOTHING
    assert read_facts(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-tokens": "149984",
        }
    ) == (60, 59, 150_000, 149_984)
    assert read_facts({"x-ratelimit-limit-tokens": "many"}) == NOTHING
    assert read_facts({"x-ratelimit-limit-requests": "0"}) == NOTHING


def test_a_limit_per_day_is_not_taken_for_one_per_minute() -> None:
    facts = read_facts(
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-limit-tokens": "18000",
        }
    )
    assert facts == Facts(limit_tokens=18_000)
