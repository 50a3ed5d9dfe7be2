import pytest
import typer

from sage.kernel.cli.shown import moment, parse_span, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (-0.5, "0.0s"),
        (4.24, "4.2s"),
        (60, "1m 00s"),
        (185.9, "3m 05s"),
        (7800, "2h 10m"),
        (86399, "23h 59m"),
        (442800, "5d 03h"),
    ],
)
def test_span(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("1.5m", 90), ("12h", 43200), ("7d", 604800), ("2w", 1209600)],
)
def test_parse_span(text, seconds):
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "7 d", "1y"])
def test_what_is_no_span(text):
    with pytest.raises(typer.BadParameter, match="expected a span such as"):
        parse_span(text)


def test_moments_are_local(monkeypatch):
    assert moment(None) is None
    assert len(moment(0.0) or "") == len("1970-01-01 00:00:00")
