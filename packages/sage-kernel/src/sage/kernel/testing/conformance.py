"""The suite every runtime passes: results, order, errors, ends, state, services.

A runtime's tests derive from ``RuntimeConformance`` and say how to make an environment::

    class TestMyRuntime(RuntimeConformance):
        def make_environment(self, name, config):
            return MyEnvironment(name, config)

The sinks append to a list of this process; a runtime whose sinks run elsewhere overrides ``run``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sage.api.functions import MapFunction, ProcessFunction
from sage.common.errors import TaskFailedError
from sage.kernel.testing.runner import FlowRun, FlowRunner


def add_one(x: int) -> int:
    """``x + 1``."""
    return x + 1


async def add_one_later(x: int) -> int:
    """``x + 1``, after giving other coroutines a turn; earlier items take more turns."""
    for _ in range(3 - x % 3):
        await asyncio.sleep(0)
    return x + 1


def refuse_seven(x: int) -> int:
    """Fail on item 7."""
    if x == 7:
        raise ValueError("seven is refused")
    return x


class CountPerKey(ProcessFunction[int, tuple[Any, int]]):
    """Emits ``(key, how many items of the key so far)``."""

    def open(self, ctx: Any) -> None:
        self.seen = ctx.value_state("seen", 0)

    def process(self, item: int) -> Any:
        self.seen.value = self.seen.value + 1
        yield self.ctx.key, self.seen.value


class AskService(MapFunction[int, int]):
    """Adds what the service ``offset`` gives."""

    def execute(self, item: int) -> int:
        result: int = self.call_service("offset", item)
        return result


class Offset:
    """A service."""

    def process(self, item: int) -> int:
        return item + 100


class RuntimeConformance:
    """See the module."""

    timeout: float = 60

    def make_environment(self, name: str, config: dict[str, Any]) -> Any:
        """An environment of the runtime under test; to be overridden."""
        raise NotImplementedError

    def run(self, build: Callable[[Any, list[Any]], object], **config: Any) -> FlowRun:
        """Run a flow to its end; failures are kept in ``FlowRun.error``."""
        return FlowRunner(self.make_environment, config, self.timeout).failing(build)

    def results(self, build: Callable[[Any, list[Any]], object], **config: Any) -> list[Any]:
        """What the sinks got; a failure is raised."""
        run = self.run(build, **config)
        if run.error is not None:
            raise run.error
        return run.out

    def test_a_chain_keeps_order(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(500))
                .map(add_one)
                .filter(lambda x: x % 2)
                .flatmap(lambda x: [x, -x])
                .sink(out.append)
            )
        )
        assert out == [y for x in range(1, 501, 2) for y in (x, -x)]

    def test_async_steps_keep_order(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(200)).map(add_one_later, concurrency=16).sink(out.append)
            )
        )
        assert out == list(range(1, 201))

    def test_parallel_steps_keep_order(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(200)).map(add_one, parallelism=3).sink(out.append)
            )
        )
        assert out == list(range(1, 201))

    def test_branches_and_unions_end(self) -> None:
        def build(env: Any, out: list[Any]) -> None:
            numbers = env.from_collection(range(100))
            low, high = numbers.split(lambda x: x < 30)
            low.map(lambda x: -x).union(high, numbers.map(add_one)).sink(out.append)

        expected = [-x for x in range(30)] + list(range(30, 100)) + list(range(1, 101))
        assert sorted(self.results(build)) == sorted(expected)

    def test_keyed_state_is_partitioned(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(210))
                .key_by(lambda x: x % 7)
                .process(CountPerKey, parallelism=3)
                .sink(out.append)
            )
        )
        assert sorted(out) == sorted((x % 7, x // 7 + 1) for x in range(210))
        for key in range(7):  # each key in order
            assert [n for k, n in out if k == key] == list(range(1, 31))

    def test_a_join_pairs_all(self) -> None:
        def build(env: Any, out: list[Any]) -> None:
            left = env.from_collection(range(50)).key_by(lambda x: x % 10)
            right = env.from_collection(range(10)).key_by(lambda x: x)
            left.connect(right).join(lambda a, b: (a, b), parallelism=2).sink(out.append)

        assert sorted(self.results(build)) == [(x, x % 10) for x in range(50)]

    def test_a_loop_ends(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(1, 40))
                .iterate(
                    lambda s: s.map(lambda x: x * 2), until=lambda x: x > 500, max_iterations=50
                )
                .sink(out.append)
            )
        )
        assert len(out) == 39
        assert all(500 < x <= 1000 for x in out)

    def test_the_failing_item_is_named_and_those_before_it_arrive(self) -> None:
        run = self.run(
            lambda env, out: (
                env.from_collection(range(50), uid="numbers")
                .map(refuse_seven, name="picky")
                .sink(out.append)
            )
        )
        assert isinstance(run.error, TaskFailedError)
        assert run.error.operator == "picky"
        assert run.error.item_id == "numbers:7"
        assert isinstance(run.error.__cause__, ValueError)
        assert run.out == list(range(7))
        assert run.job.status == "FAILED"

    def test_a_skipped_item_is_the_only_one_missing(self) -> None:
        out = self.results(
            lambda env, out: (
                env.from_collection(range(50)).map(refuse_seven, on_error="skip").sink(out.append)
            )
        )
        assert out == [x for x in range(50) if x != 7]

    def test_services_are_reached(self) -> None:
        def build(env: Any, out: list[Any]) -> None:
            env.register_service("offset", Offset)
            env.from_collection(range(5)).map(AskService).sink(out.append)

        assert self.results(build) == [100, 101, 102, 103, 104]

    def test_metrics_count_every_item(self) -> None:
        run = self.run(
            lambda env, out: (
                env.from_collection(range(90), name="numbers")
                .filter(lambda x: x % 3 == 0, name="thirds")
                .sink(out.append, name="end")
            )
        )
        steps = run.job.metrics()["operators"]
        assert {name: (step["in"], step["out"]) for name, step in steps.items()} == {
            "numbers": (90, 90),
            "thirds": (90, 30),
            "end": (30, 30),
        }

    def test_cancel_ends_an_endless_job(self) -> None:
        def endless() -> Any:
            n = 0
            while True:
                yield n
                n += 1

        run = FlowRunner(self.make_environment, {}, self.timeout).start(
            lambda env, out: env.from_source(endless).map(add_one).sink(lambda x: None)
        )
        assert run.job.cancel()
        assert run.job.status == "CANCELED"
