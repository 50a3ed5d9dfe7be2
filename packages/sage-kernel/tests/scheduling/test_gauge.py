from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.scheduling.gauge import ADOPTED, CONFIGURED, LEARNED, Gauge


def gauge(limit: float) -> Gauge:
    made = Gauge()
    made.set_limit(limit, CONFIGURED)
    return made


def test_without_a_limit_nobody_waits() -> None:
    free = Gauge()
    assert [free.wait(free.reserve(1000)) for _ in range(5)] == [0] * 5


def test_within_the_burst_nobody_waits_and_then_everybody_in_turn() -> None:
    made = gauge(60)
    assert [made.wait(made.reserve(1)) for _ in range(5)] == [0, 0, 1, 2, 3]


def test_a_reservation_above_the_burst_starts_on_a_full_gauge_and_the_next_ones_pay() -> None:
    made = gauge(600)
    assert made.wait(made.reserve(100)) == 0
    assert made.wait(made.reserve(10)) == pytest.approx((100 + 10 - 20) / 10)


def test_a_large_reservation_is_not_overtaken_by_small_ones() -> None:
    made = gauge(600)
    made.reserve(20)
    large = made.wait(made.reserve(500))
    assert all(made.wait(made.reserve(1)) >= large for _ in range(100))


def test_what_was_not_used_moves_everybody_forward() -> None:
    made = gauge(60)
    places = [made.reserve(10) for _ in range(3)]
    before = [made.wait(place) for place in places]
    made.give_back(5)
    assert [made.wait(place) for place in places[1:]] == [pytest.approx(w - 5) for w in before[1:]]


def test_what_was_used_beyond_the_reservation_moves_everybody_back() -> None:
    made = gauge(60)
    made.reserve(2)
    place = made.reserve(2)
    before = made.wait(place)
    made.give_back(-3)
    assert made.wait(place) == pytest.approx(before + 3)


def test_an_idle_gauge_saves_up_one_burst_only() -> None:
    made = gauge(60)
    made.advance(1000)
    assert [made.wait(made.reserve(1)) for _ in range(3)] == [0, 0, 1]


def test_a_known_limit_is_used_less_after_a_refusal_and_comes_back() -> None:
    made = gauge(60)
    made.refused(0.0)
    assert made.rate == pytest.approx(0.7)
    made.refused(0.5)  # the same overload
    assert made.rate == pytest.approx(0.7)
    made.refused(2.0)
    assert made.rate == pytest.approx(0.49)
    made.advance(20)
    assert made.rate == pytest.approx(0.69)
    made.advance(1000)
    assert made.rate == 1


def test_an_unknown_limit_is_learned_from_what_was_sent_before_the_refusal() -> None:
    made = Gauge()
    for second in range(10):
        for _ in range(5):
            made.reserve(1)
            made.start(made.reserved, 1, float(second))
    made.refused(9.5)
    assert made.origin == LEARNED
    assert made.limit == pytest.approx(0.7 * 60 * 50 / 9.5)
    assert made.wait(made.reserve(1)) > 0


def test_a_learned_limit_grows_while_it_holds_calls_back_and_not_when_idle() -> None:
    made = Gauge()
    made.set_limit(60, LEARNED)
    made.base = 60
    made.advance(1)
    assert made.limit == 60
    made.reserve(100)
    made.advance(10)
    assert made.limit == pytest.approx(66)


def test_what_the_server_says_is_left_bounds_what_starts() -> None:
    made = gauge(600)
    place = made.reserve(5)
    made.start(made.reserved, 5, 0.0)
    assert made.wait(place) == 0
    made.remaining(0)
    assert made.wait(made.reserve(5)) == pytest.approx(0.5)


def test_reservations_of_the_dead_do_not_hold_up_what_the_server_says_is_left() -> None:
    made = gauge(600)
    made.reserve(10_000)  # never started: its process was killed
    made.advance(2000)
    made.reserve(1)
    made.start(made.reserved, 1, 0.0)
    made.remaining(100)
    assert made.wait(made.reserve(1)) == 0


def test_limits_may_change_in_both_directions() -> None:
    made = gauge(60)
    made.reserve(60)
    place = made.reserve(1)
    slow = made.wait(place)
    made.set_limit(600, ADOPTED)
    assert made.wait(place) == pytest.approx(slow / 10)
    made.set_limit(6, ADOPTED)
    assert made.wait(place) == pytest.approx(slow * 10)


@given(
    limit=st.floats(1, 60_000),
    calls=st.lists(
        st.tuples(st.floats(0, 5), st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=60
    ),
)
def test_never_more_than_the_rate_the_burst_and_one_reservation(
    limit: float, calls: list[tuple[float, int, float]]
) -> None:
    """In order, and within the limit, whatever is reserved and whatever of it is used."""
    made, now, begun = gauge(limit), 0.0, -1.0
    used = 0.0
    largest = max(units for _, units, _ in calls)
    for gap, units, share in calls:
        now += gap
        made.advance(gap)
        place = made.reserve(units)
        at = now + made.wait(place)
        assert at >= begun
        made.advance(at - now)
        now = begun = at
        assert used <= made.burst + now * limit / 60 + largest * (1 + 1e-6) + 1e-6 * limit
        used += units * share
        made.start(made.reserved, units, now)
        made.give_back(units * (1 - share))
