import datetime as dt
import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.middleware.models.retry import RetryRule, retry_after_of
from sage.middleware.models.sse import EventDecoder


def test_backoff_doubles_within_its_jitter_and_cap():
    rule = RetryRule(max_retries=9, base=1.0, cap=4.0)
    for attempt, most in enumerate([1.0, 2.0, 4.0, 4.0]):
        waits = [
            rule.wait(attempt=attempt, kind="http", retry_after=None, random=r) for r in (0.0, 0.99)
        ]
        assert waits[0] == most / 2
        assert most * 0.9 < waits[1] <= most


def test_a_dropped_connection_is_retried_at_once_then_backed_off():
    rule = RetryRule()
    assert rule.wait(attempt=0, kind="connection", retry_after=None, random=0.5) == 0.0
    assert rule.wait(attempt=1, kind="connection", retry_after=None, random=0.5) > 0


def test_never_earlier_than_asked():
    rule = RetryRule()
    assert rule.wait(attempt=0, kind="http", retry_after=2.0, random=0.0) == 2.0
    assert rule.wait(attempt=5, kind="http", retry_after=2.0, random=0.0) is None


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({}, None), ({"retry-after": "3"}, 3.0), ({"retry-after": "soon"}, None),
     ({"retry-after-ms": "250", "retry-after": "1"}, 0.25), ({"retry-after": "-1"}, 0.0)],
)  # fmt: skip
def test_retry_after_headers(headers, wait):
    assert retry_after_of(headers, 0.0) == wait


def test_retry_after_as_a_date():
    at = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    header = {"retry-after": email.utils.format_datetime(at, usegmt=True)}
    assert retry_after_of(header, at.timestamp() - 7) == 7.0


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=5),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 7),
)
def test_events_survive_any_chunking(texts, end, size):
    stream = b"".join(b": comment" + end + b"data: " + text.encode() + end + end for text in texts)
    decoder = EventDecoder()
    found = []
    for i in range(0, len(stream), size):
        found += decoder.feed(stream[i : i + size])
    assert found == [text.encode() for text in texts]


def test_an_endless_line_is_refused():
    decoder = EventDecoder(max_bytes=10)
    with pytest.raises(ValueError, match="longer than 10"):
        decoder.feed(b"data: 0123456789")
