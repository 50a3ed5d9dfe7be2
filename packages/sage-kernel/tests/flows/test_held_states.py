"""A hot keyed step, whose state generated code holds in slots, does what a cold one does."""

from __future__ import annotations

import pytest

from sage.api import LocalEnvironment, MapFunction, RetryPolicy, SinkFunction
from sage.kernel.runtime import sync_task
from sage.kernel.state.memory import HeldValueState

ACTIONS = [(n % 5, n // 5 * 7 % 11) for n in range(660)]


class Step(MapFunction):
    """The second number of an item says what to do."""

    made = None

    def open(self, ctx):
        self.sum = ctx.value_state("sum", 0)
        self.last = ctx.value_state("last")
        self.seen = ctx.list_state("seen")
        self.calls = 0
        type(self).made = self

    def execute(self, item):
        _, action = item
        self.calls += 1
        self.seen.append(action)
        if action == 0:
            return self.sum.value, self.last.value
        if action == 1:
            self.sum.clear()
            return sorted(self.sum.keys())
        if action == 2:
            self.sum.value = 100
            self.sum.clear()
            self.sum.value += 1
        if action == 3:
            self.sum.value = self.sum.value
            self.last.value = None
        if action == 4:
            self.last.value = item
            self.sum.value += 1
            entries = dict(self.last.entries())
            if self.calls % 2:
                raise ValueError(action)
            return entries
        if action == 7:
            before = self.sum.value
            self.sum.clear()
            self.sum.value = before
        if action == 8:
            before, self.last.value = self.last.value, item
            keys = sorted(self.last.keys())
            self.last.value = before
            return keys, self.sum.value
        if action == 5:
            self.sum.clear()
            raise ValueError(action)
        self.sum.value += action
        self.last.value = self.seen.get()
        return self.sum.value, self.last.value


def run(hot, items=ACTIONS, key=lambda item: item[0], fan_out=False, **options):
    env = LocalEnvironment("held", config={"inline": hot})
    out = []
    keyed = env.from_source(items).key_by(key)
    keyed.map(Step, **options).sink(out.append)
    if fan_out:
        keyed.map(lambda x: x).sink(lambda x: None)
    env.submit().wait()
    step = Step.made
    assert isinstance(step.sum, HeldValueState) is hot
    return out, {state: dict(getattr(step, state).entries()) for state in ("sum", "last", "seen")}


@pytest.mark.parametrize("fan_out", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "skip"},
        {"on_error": lambda item: ("instead", item)},
        {"on_error": "skip", "retry": RetryPolicy(max_attempts=2, initial_delay=0)},
    ],
    ids=["skip", "fallback", "retry"],
)
def test_like_a_cold_step(monkeypatch, options, fan_out):
    monkeypatch.setattr(sync_task, "HOT", 8)
    hot, cold = (run(hot, fan_out=fan_out, **options) for hot in (True, False))
    assert hot == cold


def test_a_key_that_cannot_be_hashed(monkeypatch, tmp_path):
    monkeypatch.setattr(sync_task, "HOT", 8)
    items = [([n], 7) if n % 6 == 5 else (n % 3, 6) for n in range(120)]
    letters = []

    def flow(hot):
        env = LocalEnvironment("held", config={"inline": hot, "dead_letter_dir": str(tmp_path)})
        out = []
        stream = env.from_source(items).key_by(lambda item: item[0])
        stream.map(Step, on_error="dead_letter").sink(out.append)
        job = env.submit()
        job.wait()
        found = job.dead_letters()
        letters.append([(letter["item"], letter["error"]["message"]) for letter in found])
        return out, dict(Step.made.sum.entries()), dict(Step.made.last.entries())

    assert flow(True) == flow(False)
    assert letters[0] == letters[1]
    assert len(letters[0]) == 20
    assert "is not hashable" in str(letters[0][0])


def test_in_a_sink(monkeypatch):
    monkeypatch.setattr(sync_task, "HOT", 8)

    class Count(SinkFunction):
        def open(self, ctx):
            self.count = ctx.value_state("count", 0)

        def execute(self, item):
            self.count.value += 1

        def close(self):
            counts.append((type(self.count), dict(self.count.entries())))

    counts = []
    env = LocalEnvironment("sink")
    env.from_source(range(90)).key_by(lambda x: x % 4).sink(Count)
    env.submit().wait()
    assert counts == [(HeldValueState, {0: 23, 1: 23, 2: 22, 3: 22})]
