from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sage.api.functions import MapFunction
from sage.kernel.ledger.codeversion import version_of
from sage.kernel.ledger.records import lineage_of, origin_of, root_of


def made(text: str, **names: Any) -> Any:
    """``step`` of a program."""
    scope: dict[str, Any] = {"MapFunction": MapFunction, "__name__": "made", **names}
    exec(text, scope)
    return scope["step"]


BASE = "def step(x):\n    return x + 1\n"

SAME = [
    "def step(x):\n    'A docstring.'\n    return x + 1\n",
    "\n\n# moved\ndef step(x):\n    return x + 1  # a comment\n",
]
OTHER = [
    "def step(x):\n    return x + 2\n",
    "def step(x):\n    return x - 1\n",
    "def step(x, y=1):\n    return x + 1\n",
    "def step(x):\n    return other(x) + 1\n",
]


@pytest.mark.parametrize("text", SAME)
def test_what_does_not_matter(text: str) -> None:
    assert version_of(made(text)) == version_of(made(BASE))


@pytest.mark.parametrize("text", OTHER)
def test_what_does(text: str) -> None:
    assert version_of(made(text)) != version_of(made(BASE))


def test_values_that_a_function_was_made_with() -> None:
    def outer(n: Any) -> Any:
        return lambda x: x + n

    assert version_of(outer(1)) == version_of(outer(1))
    assert version_of(outer(1)) != version_of(outer(2))
    assert version_of(outer({"a": [1]})) != version_of(outer({"a": [2]}))
    assert version_of(partial(outer, 1)) != version_of(partial(outer, 2))
    assert version_of(partial(outer, n=1)) == version_of(partial(outer, n=1))
    assert version_of(outer(object())) == version_of(outer(object())), "by class, not by address"


CLASS = """
class step(MapFunction):
    def open(self, ctx):
        self.n = {n}
    def execute(self, item):
        return item + self.n
"""


def test_classes_and_objects() -> None:
    first, again, other = made(CLASS.format(n=1)), made(CLASS.format(n=1)), made(CLASS.format(n=2))
    assert version_of(first) == version_of(again)
    assert version_of(first) != version_of(other)
    assert version_of(first()) == version_of(first)
    again.version = 2
    assert version_of(first) != version_of(again)
    child = type("step", (first,), {"execute": lambda self, item: item})
    assert version_of(child) != version_of(first)
    assert version_of(first, other) != version_of(other, first)


def test_the_module_does_not_matter() -> None:
    first, again = made(CLASS.format(n=1)), made(CLASS.format(n=1), __name__="elsewhere")
    assert first.__module__ != again.__module__
    assert version_of(first) == version_of(again)


@pytest.mark.parametrize(
    ("record", "chain"),
    [
        ("source:5", ["source:5"]),
        ("source:a:b:5", ["source:a:b:5"]),
        ("source:5/2", ["source:5", "source:5/2"]),
        ("source:5/2/0", ["source:5", "source:5/2", "source:5/2/0"]),
        ("source:5@2", ["source:5", "source:5@1", "source:5@2"]),
        ("s:5/1@1/0", ["s:5", "s:5/1", "s:5/1@1", "s:5/1@1/0"]),
        ("no record id", ["no record id"]),
    ],
)
def test_record_ids_as_text(record: str, chain: list[str]) -> None:
    assert lineage_of(record) == chain
    assert root_of(record) == chain[0]


def test_origin() -> None:
    assert origin_of("source:a:5/2@1") == "source:a"
    assert origin_of("window[1]:7") == "window[1]"
