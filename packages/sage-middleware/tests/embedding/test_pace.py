from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.middleware.utils.embedding.remote.pace import Pace


def test_within_the_burst_nobody_waits_and_then_everybody_in_turn() -> None:
    pace = Pace(60)
    assert [pace.reserve(1, 0.0) for _ in range(4)] == [0, 1, 2, 3]
    assert pace.reserve(1, 10.0) == 0


def test_a_request_above_the_burst_goes_through_and_is_paid_afterwards() -> None:
    pace = Pace(600)
    assert pace.reserve(100, 0.0) == 0
    assert pace.reserve(10, 0.0) == pytest.approx(10)


@given(
    st.floats(1, 6000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), min_size=1, max_size=40),
)
def test_never_more_than_the_rate_and_one_burst(
    rate: float, calls: list[tuple[float, int]]
) -> None:
    pace, now, sent = Pace(rate), 0.0, []
    for gap, units in calls:
        now += gap
        sent.append((now + pace.reserve(units, now), units))
    assert [at for at, _ in sent] == sorted(at for at, _ in sent)
    largest = max(units for _, units in sent)
    burst = max(rate / 60, 1.0)
    before = sum(units for _, units in sent[:-1])
    assert before <= burst + (sent[-1][0] - sent[0][0]) * rate / 60 + largest + 1e-6 * rate
