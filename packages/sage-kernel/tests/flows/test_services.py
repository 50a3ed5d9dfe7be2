"""Services: three ways to call, also from each other and from async steps; their life cycle."""

from __future__ import annotations

from typing import ClassVar

import pytest

from sage.api import MapFunction
from sage.common.errors import ServiceError


class Adder:
    log: ClassVar[list[str]] = []

    def __init__(self, amount=100):
        self.amount = amount

    def start(self):
        self.log.append("start adder")

    def stop(self):
        self.log.append("stop adder")

    def process(self, x):
        return x + self.amount

    def twice(self, x):
        return x + 2 * self.amount

    async def later(self, x):
        return x + 3 * self.amount


class Sync(MapFunction):
    def open(self, ctx):
        Adder.log.append("open step")

    def close(self):
        Adder.log.append("close step")

    def execute(self, x):
        return (
            self.call_service("adder", x),
            self.call_service("adder", x, method="twice", timeout=10),
            self.call_service["adder"].twice(x),
            self.ctx.service("adder").later(x),
        )


class Async(Sync):
    async def execute(self, x):
        return (
            self.call_service("adder", x),
            self.call_service("adder", x, method="twice"),
            self.call_service["adder"].twice(x),
            await self.ctx.service("adder").later(x),
        )


@pytest.mark.parametrize("cls", [Sync, Async])
@pytest.mark.parametrize("parallelism", [None, 2])
def test_three_styles_and_life_cycle(run_flow, cls, parallelism):
    Adder.log = []

    def build(e, out):
        e.register_service("adder", Adder, amount=10)
        e.from_source(range(3)).map(cls, parallelism=parallelism).sink(out.append)

    assert run_flow(build).out == [(x + 10, x + 20, x + 20, x + 30) for x in range(3)]
    assert Adder.log[0] == "start adder"
    assert Adder.log[-1] == "stop adder"
    assert Adder.log.count("open step") == Adder.log.count("close step") >= 1


def test_a_failing_job_stops_its_services(run_flow):
    Adder.log = []

    def build(e, out):
        e.register_service("adder", Adder)
        e.from_source([1]).map(lambda x: 1 / 0).sink(out.append)

    assert run_flow.failing(build).error is not None
    assert Adder.log == ["start adder", "stop adder"]


def test_a_service_that_does_not_start_is_an_error_of_submit(run_once):
    class Broken:
        def start(self):
            raise RuntimeError("no disk")

    def build(e, out):
        e.register_service("broken", Broken)
        e.from_source([1]).map(Sync).sink(out.append)

    with pytest.raises(ServiceError, match="no disk"):
        run_once(build)
