"""Checked by mypy in ``test_typing.py``: what type each way of declaring a step gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

from sage.api import (
    CoMapFunction,
    DataStream,
    FlatMapFunction,
    KeyedStream,
    LocalEnvironment,
    MapFunction,
    SourceFunction,
)


class Lengths(MapFunction[str, int]):
    def execute(self, item: str) -> int:
        return len(item)


class AsyncLengths(MapFunction[str, int]):
    async def execute(self, item: str) -> int:
        return len(item)


class Words(FlatMapFunction[str, str]):
    def execute(self, item: str) -> list[str]:
        return item.split()


class Lines(SourceFunction[str]):
    def run(self) -> Iterator[str]:
        yield "a b"


class Both(CoMapFunction[int, str, float]):
    def map1(self, item: int) -> float:
        return item

    def map2(self, item: str) -> float:
        return 0.0


def numbers() -> Iterator[int]:
    yield 1


def shown(item: int) -> str:
    return str(item)


async def fetched(item: int) -> bytes:
    return bytes(item)


env = LocalEnvironment()
assert_type(env.from_source(Lines), DataStream[str])
assert_type(env.from_source(numbers), DataStream[int])
assert_type(env.from_collection([1, 2]), DataStream[int])
words = env.from_source(Lines).flatmap(Words)
assert_type(words, DataStream[str])
assert_type(words.map(Lengths), DataStream[int])
assert_type(words.map(AsyncLengths), DataStream[int])
assert_type(words.map(Lengths()), DataStream[int])
ints = env.from_collection([1, 2])
assert_type(ints.map(shown), DataStream[str])
assert_type(ints.map(fetched), DataStream[bytes])
assert_type(ints.map(lambda x: x * 1.5), DataStream[float])
assert_type(ints.filter(lambda x: x > 1), DataStream[int])
assert_type(ints.key_by(lambda x: x % 2), KeyedStream[int])
assert_type(ints.batch(2), DataStream[list[int]])
assert_type(ints.map("SomeOperator"), DataStream[Any])
assert_type(ints.union(ints), DataStream[int])
assert_type(ints.connect(words).comap(Both), DataStream[float])
assert_type(ints.connect(words).comap(shown, len), DataStream[str | int])
assert_type(ints.split(lambda x: x > 1), list[DataStream[int]])
assert_type(ints.route(shown)["1"], DataStream[int])
assert_type(ints.aggregate(0.0, lambda a, x: a + x), DataStream[float])
assert_type(
    ints.iterate(lambda s: s.map(lambda x: x + 1), until=lambda x: x > 3, max_iterations=3),
    DataStream[int],
)
