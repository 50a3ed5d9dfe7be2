"""Assignability and what is read from annotations."""
# ruff: noqa: UP007, UP045 - both ways of writing a union are tested

from __future__ import annotations

import collections.abc as cabc
from typing import Any, Generic, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest

from sage.api import (
    FlatMapFunction,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    SourceFunction,
    StopSignal,
)
from sage.kernel.graph.inference import infer, signature
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.graph.types import is_assignable, show

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Id = NewType("Id", str)


class Animal:
    name: str = ""

    def sound(self) -> str:
        return ""


class Dog(Animal):
    pass


class Sounds(Protocol):
    def sound(self) -> str: ...


class Names(list[str]):
    pass


class Box(Generic[T]):
    pass


class Row(TypedDict):
    a: int


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, int), (bool, int), (int, float), (Dog, Animal), (str, Any), (Any, str),
        (None, str), (str, None), (object, str), (int, Union[int, str]), (int, int | str),
        (Union[int, bool], int), (type(None), Optional[str]), (list[str], list), (list, list[str]),
        (list[str], cabc.Iterable[str]), (list[bool], list[int]),
        (dict[str, int], cabc.Mapping[str, int]),
        (dict[str, int], cabc.Iterable[str]), (tuple[int, str], tuple[int, str]),
        (tuple[int, ...], cabc.Sequence[int]), (tuple[int, int], tuple[int, ...]),
        (Names, cabc.Iterable[str]), (Names, list[str]), (Box[int], Box[int]), (Dog, Sounds),
        (Literal["a"], str), (Literal["a"], Literal["a", "b"]), (Id, str), (str, Id), (int, T),
        (int, Number), (Row, dict), (dict, Row), (str, cabc.Sequence[str]), (str, cabc.Hashable),
        (type, cabc.Callable[..., Any]), (list[Any], list[int]), (bytearray, bytes),
    ],
)  # fmt: skip
def test_fits(given, wanted):
    assert is_assignable(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (str, int), (float, int), (Animal, Dog), (int, str | bytes), (Union[int, str], int),
        (Optional[str], str), (type(None), str), (list[str], list[int]), (str, list[str]),
        (list[str], tuple[str, ...]), (dict[str, int], cabc.Mapping[str, str]),
        (tuple[int, str], tuple[int, int]), (tuple[int], tuple[int, int]),
        (list[str], cabc.Iterable[int]), (Names, cabc.Iterable[int]), (int, Sounds),
        (Box[int], Box[str]), (Literal["a"], int), (Literal["a"], Literal["b"]), (str, Number),
        (int, cabc.Iterable[int]), (Row, list), (dict[str, int], cabc.Iterable[int]),
    ],
)  # fmt: skip
def test_does_not_fit(given, wanted):
    assert not is_assignable(given, wanted)


def test_shown_without_modules():
    assert show(dict[str, list[Animal]]) == "dict[str, list[Animal]]"
    assert show(Optional[int]) == "int | None"
    assert show(None) == "unknown"


class Typed(MapFunction[str, int]):
    def execute(self, item):
        return 1


class Annotated(MapFunction[Any, Any]):
    async def execute(self, item: str) -> int:
        return 1


class Middle(MapFunction[T, list[T]], Generic[T]):
    def execute(self, item: T) -> list[T]:
        return [item]


class Concrete(Middle[int]):
    pass


class Accepts(MapFunction[Animal, str]):
    accepts = (dict, str)

    def execute(self, item):
        return ""


class Spread(FlatMapFunction[str, int]):
    def execute(self, item):
        yield 1


class Ends(SourceFunction):
    def execute(self) -> int | StopSignal | None:
        return None


class Keyed(ProcessFunction):
    def process(self, item: int) -> cabc.Iterator[str]:
        yield ""


class Callable_:
    def __call__(self, item: int) -> str:
        return ""


def test_read_from_classes():
    def read(cls, kind="map"):
        found = signature(FunctionSpec(cls), kind)
        return found.inputs[:1], found.output

    assert read(Typed) == ((str,), int)
    assert read(Annotated) == ((str,), int)
    assert read(Concrete) == ((int,), list[int])
    assert read(Spread, "flatmap") == ((str,), int)
    assert read(Ends, "source") == ((), int)
    assert read(Keyed, "process") == ((int,), str)
    assert read(Callable_) == ((int,), str)
    assert is_assignable(dict, read(Accepts)[0][0])
    assert not is_assignable(int, read(Accepts)[0][0])


def test_names_that_cannot_be_resolved_hide_nothing_else():
    def step(item: NoSuchName) -> int:  # noqa: F821
        return 1

    found = signature(FunctionSpec(step), "map")
    assert found.inputs == (None,)
    assert found.output is int


def test_types_flow_through_the_graph():
    env = LocalEnvironment("types")
    numbers = env.from_collection([1, 2, 3])

    def half(x: int) -> float:
        return x / 2

    async def text(x: float) -> str:
        return str(x)

    def chars(x: str) -> list[str]:
        return list(x)

    def same(x: T) -> T:
        return x

    floats = numbers.filter(lambda x: x > 1).map(same).map(half)
    texts = floats.map(text)
    steps = {
        "floats": (floats, float),
        "texts": (texts, str),
        "chars": (texts.flatmap(chars), str),
        "batch": (texts.batch(2), list[str]),
        "window": (numbers.window(count=2), list[int]),
        "union": (floats.union(texts), float | str),
        "pair": (numbers.key_by(half).connect(texts.key_by(chars)).join(), tuple[int, str]),
        "explicit": (numbers.map(lambda x: x, type=bytes), bytes),
        "unknown": (numbers.map(lambda x: x), None),
        "reduce": (numbers.reduce(max), None),
    }
    infer(env.stream_graph)
    for name, (stream, expected) in steps.items():
        assert stream._node.out_type == expected, name
