"""What is read out of the text of a reply."""

import pytest

from sage.middleware.models.chat import object_in, spoken


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Paris.", "Paris."),
        ("<think>Is it {Lyon}?</think>\nParis.", "Paris."),
        ("<THINKING>a</THINKING>Paris<think>b</think>.", "Paris ."),
        ("The prompt opened the thoughts.</think>Paris.", "Paris."),
        ("<think>one</think> two</think> Paris.", "Paris."),
        (" <think>It was cut off: {", ""),
        ("Write <think> to think.", "Write <think> to think."),
    ],
)
def test_thoughts_are_not_spoken(reply, said):
    assert spoken(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        '{"a": {"b": "}"}}',
        '```json\n{\n "a": {"b": "}"}}\n```',
        '<think>{"a": 1} or {x}?</think>{"a": {"b": "}"}}',
        'maybe {"a": 2}</think>{"a": {"b": "}"}}',
        'As {name} says: {"a": {"b": "}"}} {so it is}',
        '{"a": {"b": "}"}} {"a": 2}',
    ],
)
def test_the_object_is_found_among_other_words(reply):
    assert object_in(reply) == {"a": {"b": "}"}}


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "no JSON object"),
        ('<think>{"a": 1}</think> I cannot say', "no JSON object"),
        ('<think>{"a": 1}', "no JSON object"),
        ("{x}", "broken JSON"),
        ('{"a": {"b": 1}, "c": ', "broken JSON"),
        ('{"a": ' * 100_000, "broken JSON"),
    ],
)
def test_what_is_wrong_is_said(reply, why):
    with pytest.raises(ValueError, match=why):
        object_in(reply)


def test_an_empty_object_is_one():
    assert object_in("So: {}") == {}
