import time

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.routing import Throttle
from sage.lib.routing.throttle import Bucket


def test_items_are_spaced_by_the_rate():
    bucket = Bucket(rate=4, burst=1)
    assert [bucket.wait(10.0) for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert bucket.wait(11.5) == 0.0
    assert bucket.wait(11.5) == 0.25


def test_a_pause_allows_a_burst_and_no_more():
    bucket = Bucket(rate=4, burst=3)
    for now in (0.0, 100.0):
        assert [bucket.wait(now) for _ in range(5)] == [0.0, 0.0, 0.0, 0.25, 0.5]


def test_in_a_job_all_items_pass_in_order_and_not_too_soon():
    seen = []
    env = LocalEnvironment("throttle")
    env.from_collection(range(6)).map("Throttle", {"rate": 50}).sink(
        lambda item: seen.append((item, time.monotonic()))
    )
    started = time.monotonic()
    env.submit().wait(60)
    assert [item for item, _ in seen] == list(range(6))
    # A lower bound holds on any machine: the last of six may not pass before five gaps.
    assert seen[-1][1] - started >= 5 / 50


def test_a_rate_must_be_above_zero():
    with pytest.raises(ConfigError, match="rate"):
        Throttle({"rate": 0})
