"""What is fused and why, and generated code that tracebacks can show."""

from __future__ import annotations

import traceback

import pytest

from sage.api import LocalEnvironment, MapFunction
from sage.common.errors import GraphError, TaskFailedError


async def later(x):
    return x


class Vector(MapFunction):
    def execute_batch(self, items):
        return items


def explained(declare, **config):
    env = LocalEnvironment("plan", config)
    declare(env.from_source(range(3), name="numbers")).sink(lambda x: None, name="end")
    return env.explain()


def segments(text):
    return [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("  segment ")]


def test_a_chain_is_one_segment():
    text = explained(lambda s: s.map(lambda x: x, name="a").filter(lambda x: x, name="b"))
    assert segments(text) == ["numbers → a → b → end"]
    assert "fused into segment 0" in text


def test_async_steps_share_a_budget():
    text = explained(lambda s: s.map(later, name="a", concurrency=4).map(later, name="b"))
    assert segments(text) == ["numbers", "a → b", "end"]
    assert "up to 4 items in flight" in text


@pytest.mark.parametrize(
    ("declare", "reason"),
    [
        (lambda s: s.map(later), "is async after sync"),
        (lambda s: s.map(Vector), "has execute_batch: gets natural batches"),
        (lambda s: s.map(abs, executor="process", parallelism=2), "runs in 2 worker processes"),
        (lambda s: s.map(abs, parallelism=2), "is parallel after sync"),
        (lambda s: s.window(seconds=1), "has timers, which a blocked source could not fire"),
        (
            lambda s: s.key_by(abs).reduce(lambda a, b: a, parallelism=2),
            "keyed, 2 subtasks by hash of the key",
        ),
        (
            lambda s: s.iterate(lambda b: b.map(abs), until=lambda x: True, max_iterations=2),
            "reads feedback, so it has an inbox of its own",
        ),
        (lambda s: s.union(s.map(later)), "its inputs come from different segments"),
    ],
)
def test_reasons(declare, reason):
    assert reason in explained(declare)


def test_fusion_can_be_off():
    text = explained(lambda s: s.map(abs, name="a"), fusion=False)
    assert segments(text) == ["numbers", "a", "end"]
    assert "fusion is off" in text


def test_a_key_that_nobody_needs_is_not_computed():
    assert "the key is not computed" in explained(
        lambda s: s.key_by(abs, name="k").map(lambda x: x)
    )


def test_operators_that_cannot_run_in_processes_say_so():
    with pytest.raises(GraphError, match="put the expensive part"):
        explained(lambda s: s.fallback(abs, abs, executor="process"))


def test_tracebacks_show_the_generated_line():
    env = LocalEnvironment("traced")
    env.from_source([1]).map(lambda x: x / 0).sink(lambda x: None)
    with pytest.raises(TaskFailedError) as caught:
        env.submit().wait(20)
    text = "".join(traceback.format_exception(caught.value.__cause__))
    assert '"<sage traced/segment-0/' in text
    assert "v1 = f1(" in text or "(v0)" in text
    assert "x / 0" in text
