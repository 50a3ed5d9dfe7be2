"""RetryPolicy: what it accepts and how long it waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api import RetryPolicy
from sage.common.errors import GraphError


def test_int_counts_attempts_after_the_first():
    assert RetryPolicy.of(3).max_attempts == 4
    assert RetryPolicy.of(0) is None
    assert RetryPolicy.of(None) is None


def test_mapping_with_short_and_long_names():
    policy = RetryPolicy.of({"max_attempts": 5, "backoff": 0.1, "max_backoff": 2, "on": [OSError]})
    assert policy == RetryPolicy(5, 0.1, max_delay=2, on=(OSError,))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"max_atempts": 3}, "did you mean 'max_attempts'"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"jitter": 2}, "jitter"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"on": ["ValueError"]}, "exception classes"),
        ({"backoff": 1, "initial_delay": 1}, "another name"),
        (-1, "retries"),
        ("often", "RetryPolicy"),
        (True, "RetryPolicy"),
    ],
)
def test_wrong_values_are_named(value, words):
    with pytest.raises(GraphError, match=words):
        RetryPolicy.of(value)


def test_should_retry():
    policy = RetryPolicy(3, on=(OSError,))
    assert policy.should_retry(ConnectionError(), 1)
    assert policy.should_retry(ConnectionError(), 2)
    assert not policy.should_retry(ConnectionError(), 3)
    assert not policy.should_retry(ValueError(), 1)
    assert not policy.should_retry(KeyboardInterrupt(), 1)


def test_delay_grows_and_is_capped():
    policy = RetryPolicy(10, 1, 2, max_delay=5, jitter=0)
    assert [policy.delay(n) for n in (1, 2, 3, 4, 10_000)] == [1, 2, 4, 5, 5]


def test_retry_after_is_never_undercut():
    error = OSError()
    error.retry_after = 60
    assert RetryPolicy(3, 1, max_delay=5).delay(1, error) == 60
    error.retry_after = 0.001
    assert RetryPolicy(3, 1, jitter=0).delay(1, error) == 1


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_jitter_only_shortens(attempt, jitter, number):
    policy = RetryPolicy(99, 0.5, 2, 30, jitter)
    full = min(30, 0.5 * 2 ** (attempt - 1))
    assert full * (1 - jitter) - 1e-9 <= policy.delay(attempt, random=lambda: number) <= full
