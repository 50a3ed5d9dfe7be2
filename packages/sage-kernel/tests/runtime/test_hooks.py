"""What a plugin hears of a job, from its submission to its end."""

from __future__ import annotations

import pytest

from sage.api import LocalEnvironment, MapFunction
from sage.common.errors import TaskFailedError
from sage.common.hooks import HookManager, hookimpl
from sage.kernel.runtime import hooks


class Ears:
    """Listens to everything."""

    def __init__(self):
        self.heard = []

    def facts(self, event):
        return [facts for name, facts in self.heard if name == event]

    @hookimpl
    def job_submitted(self, job_id, name, graph):
        self.heard.append(("job_submitted", (job_id, name, len(graph["nodes"]))))

    @hookimpl
    def job_finished(self, job_id, status, error):
        self.heard.append(("job_finished", (job_id, status, type(error))))

    @hookimpl
    def task_started(self, operator):
        self.heard.append(("task_started", operator))

    @hookimpl
    def task_failed(self, operator, error):
        self.heard.append(("task_failed", (operator, type(error))))

    @hookimpl
    def task_finished(self, metrics):
        self.heard.append(("task_finished", sorted(metrics)))

    @hookimpl
    def checkpoint_completed(self, checkpoint_id, duration, size):
        self.heard.append(("checkpoint_completed", (checkpoint_id, duration >= 0, size >= 0)))

    @hookimpl
    def call_started(self, operator, call_id):
        self.heard.append(("call_started", (operator, call_id)))

    @hookimpl
    def call_finished(self, operator, call_id, error):
        self.heard.append(("call_finished", (operator, call_id, error)))

    @hookimpl
    def metrics_reported(self, job_id, metrics):
        self.heard.append(("metrics_reported", (job_id, metrics["ask"]["in"])))


@pytest.fixture
def ears(monkeypatch):
    manager, listener = HookManager(), Ears()
    manager.register(listener, "ears")
    monkeypatch.setattr(hooks, "_managers", [manager])
    return listener


class Ask(MapFunction):
    def execute(self, item):
        return self.ctx.call(int, item)


def test_a_plugin_hears_of_a_job_its_checkpoints_calls_and_metrics(ears, tmp_path):
    env = LocalEnvironment("heard").enable_checkpoints(interval=None, store=tmp_path)
    env.from_collection(["1", "2"]).map(Ask, name="ask").sink(lambda item: None)
    job = env.execute(timeout=30)
    assert ears.facts("job_submitted") == [(job.id, "heard", 3)]
    assert len(ears.facts("task_started")) == len(ears.facts("task_finished")) == 1
    assert ears.facts("checkpoint_completed") == [(1, True, True), (2, True, True)]
    started = ears.facts("call_started")
    assert [operator for operator, _ in started] == ["ask", "ask"]
    assert ears.facts("call_finished") == [(*call, None) for call in started]
    assert ears.facts("metrics_reported") == [(job.id, 2)]
    assert ears.heard[-1] == ("job_finished", (job.id, "FINISHED", type(None)))


def test_a_plugin_hears_what_failed(ears):
    env = LocalEnvironment("failing")
    env.from_collection(["x"]).map(int, name="ask").sink(lambda item: None)
    with pytest.raises(TaskFailedError):
        env.execute(timeout=30)
    ((_, kind),) = ears.facts("task_failed")
    assert kind is TaskFailedError
    assert ears.heard[-1][1][1:] == ("FAILED", TaskFailedError)
