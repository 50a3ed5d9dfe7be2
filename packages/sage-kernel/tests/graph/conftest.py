"""Good pipelines that the tests of this folder start from."""

from __future__ import annotations

import pytest

from sage.api import LocalEnvironment, MapFunction, SinkFunction


class Length(MapFunction[str, int]):
    def execute(self, item: str) -> int:
        return len(item)


class Half(MapFunction[int, float]):
    def execute(self, item: int) -> float:
        return item / 2


class Needy(MapFunction[float, float]):
    requires_services = ("prices",)

    def execute(self, item: float) -> float:
        return item


class Keep(SinkFunction[float]):
    def execute(self, item: float) -> None:
        pass


def linear():
    env = LocalEnvironment("linear", {"fusion": True})
    env.register_service("prices", dict)
    (
        env.from_collection(["a", "bb"], name="texts")
        .map(Length, name="length")
        .filter(lambda x: x > 0, name="positive")
        .map(Half, name="half", retry=2, timeout=5)
        .map(Needy, name="needy")
        .sink(Keep, name="keep")
    )
    return env


def branching():
    env = LocalEnvironment("branching")
    texts = env.from_collection(["a", "bb"], name="texts")
    routed = texts.route(
        lambda x: "short" if len(x) < 2 else "long", routes=["short", "long"], name="by_size"
    )
    short = routed["short"].key_by(len, name="key_short")
    long = routed["long"].key_by(len, name="key_long")
    short.connect(long).join(how="outer", name="pairs").sink(lambda x: None, name="out")
    texts.batch(2, timeout=1, name="batched").window(count=2, name="windows").discard(name="bin")
    first = texts.map(Length, name="length")
    first.union(texts, name="both").discard(name="bin2")
    first.connect(texts).comap(lambda x: x, lambda x: x, name="comapped").discard(name="bin3")
    texts.fallback(Length, len, name="careful").discard(name="bin4")
    return env


def looping():
    env = LocalEnvironment("looping")
    back = env.from_future("back")
    numbers = env.from_collection([1, 2], name="numbers").union(back, name="all")
    small, large = numbers.map(lambda x: x + 1, name="add").split(lambda x: x < 9, name="enough")
    env.fill_future(back, small)
    large.sink(lambda x: None, name="out")
    return env


@pytest.fixture(params=[linear, branching, looping], ids=lambda f: f.__name__)
def good_environment(request):
    return request.param()


@pytest.fixture
def build():
    return {"linear": linear, "branching": branching, "looping": looping}
