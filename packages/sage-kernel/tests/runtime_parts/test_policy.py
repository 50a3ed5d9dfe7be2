from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api.retry import RetryPolicy
from sage.common.errors import JobCanceledError, ModelError
from sage.kernel.runtime.policy import next_delay, retry_after


def test_attempts_are_counted_in_total():
    policy = RetryPolicy(max_attempts=3, initial_delay=1, multiplier=2, jitter=0)
    delays = [next_delay(policy, n, ValueError()) for n in (1, 2, 3)]
    assert delays == [1.0, 2.0, None]
    assert next_delay(None, 1, ValueError()) is None


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_only_shortens_and_stays_in_bounds(attempt, random):
    policy = RetryPolicy(max_attempts=10, initial_delay=0.5, max_delay=5, jitter=0.5)
    full = min(5, 0.5 * 2 ** (attempt - 1))
    delay = next_delay(policy, attempt, ValueError(), lambda: random)
    assert delay is not None
    assert full / 2 <= delay <= full


def test_only_the_named_exceptions_are_retried():
    policy = RetryPolicy(on=(ConnectionError,))
    assert next_delay(policy, 1, ValueError()) is None
    assert next_delay(policy, 1, ConnectionResetError()) is not None


def test_the_end_of_the_job_is_never_retried():
    assert next_delay(RetryPolicy(), 1, JobCanceledError("x")) is None


class Response:
    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class HttpError(Exception):
    def __init__(self, response: Any) -> None:
        super().__init__("429")
        self.response = response


def test_the_server_says_how_long_to_wait():
    policy = RetryPolicy(initial_delay=0.1, jitter=0)
    assert next_delay(policy, 1, ModelError("slow down", status=429, retry_after=7)) == 7
    assert next_delay(policy, 1, HttpError(Response(retry_after="9"))) == 9
    assert next_delay(policy, 1, ModelError("slow down", retry_after=0.01)) == 0.1
    assert retry_after(HttpError(Response(retry_after_ms="1500"))) == 1.5
    date = formatdate(2_000, usegmt=True)
    assert retry_after(HttpError(Response(retry_after=date)), lambda: 1_988.0) == 12
    assert retry_after(HttpError(Response(retry_after=date)), lambda: 3_000.0) == 0


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "", None])
def test_nonsense_from_the_server_is_ignored(value):
    assert retry_after(HttpError(Response(retry_after=value))) is None
    assert retry_after(HttpError(None)) is None
    assert retry_after(ValueError()) is None
