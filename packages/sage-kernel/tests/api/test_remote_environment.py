"""``RemoteEnvironment``: the same pipeline code, as a managed job."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment, RemoteEnvironment, RemoteJob
from sage.api.functions import MapFunction
from sage.common.errors import (
    GraphError,
    JobCanceledError,
    JobError,
    JobFailedError,
    NotFoundError,
    UnreachableError,
)
from sage.kernel.graph.model import StreamGraph
from sage.kernel.jobmanager.launch import start_daemon, stop_daemon
from sage.kernel.jobmanager.packing import pack_graph

pytest.importorskip("fastapi")


class Add(MapFunction[int, int]):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def execute(self, item: int) -> int:
        return item + self.n


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGE_HOME", str(home))
        info = start_daemon(port=0, settings={"metrics_interval": 0.1})
        yield info.url
        stop_daemon(jobs="cancel")


def test_functions_travel_by_value(address: str) -> None:
    factor = 10
    env = RemoteEnvironment("by value", jobmanager_address=address)
    env.from_collection(range(3)).map(Add, 1).map(lambda x: x * factor).print()
    job = env.submit()
    assert isinstance(job, RemoteJob)
    assert f"{job}" == str(job) == job.id == job
    assert env.jobs == (job,)
    env.wait_for_completion(job)
    assert job.logs() == list(job.follow_logs()) == ["10", "20", "30"]
    assert (job.status, job.name, job.done()) == ("FINISHED", "by value", True)
    assert job.info().kind == "graph"
    assert job.result() is job
    assert job.metrics()["operators"][job.graph()["nodes"][1]["name"]]["out"] == 3
    assert [e["status"] for e in job.events() if e["type"] == "status"][-1] == "FINISHED"
    assert job.dead_letters() == []
    assert pickle.loads(pickle.dumps(job)) == str(job)
    env.wait_for_completion(str(job))
    env.wait_for_completion()


def test_steps_with_names_travel_as_data(address: str) -> None:
    env = RemoteEnvironment("as data", jobmanager_address=address)
    env.from_collection(["b", "a"]).print()
    job = env.submit(autostop=True)
    assert job.info().kind == "spec"
    assert job.logs() == ["b", "a"]


class Ask(MapFunction[str, str]):
    """Its configuration: ``file`` and ``suffix``."""

    def execute(self, item: str) -> str:
        answer: str = self.ctx.call(self._asked, item + self.config["suffix"])
        return answer

    def _asked(self, text: str) -> str:
        """Stands for a paid call: leaves a trace each time."""
        with Path(self.config["file"]).open("a") as file:
            file.write(text)
        return text.upper()


@pytest.mark.parametrize("remote", [False, True])
def test_calls_are_explained_and_run_again_as_those_of_a_local_job(
    address: str, tmp_path: Path, remote: bool
) -> None:
    calls = tmp_path / "calls"
    env: LocalEnvironment | RemoteEnvironment
    if remote:
        env = RemoteEnvironment("asking", jobmanager_address=address)
    else:
        env = LocalEnvironment("asking").enable_checkpoints(store=tmp_path / "store")
    letters = env.from_collection(["a", "b"], uid="letters")
    asked = letters.map(Ask, {"file": str(calls), "suffix": ""}, uid="ask", name="ask")
    asked.sink(lambda item: None, name="out")
    job = env.submit()
    job.wait()
    items = [each.record for each in job.outputs("ok")]
    assert items == ["letters:0", "letters:1"]
    assert job.outputs("failed") == []
    why = job.why(items[1])
    assert [(call.step, call.record, call.cost) for call in why.calls] == [("ask", items[1], None)]
    assert "price unknown" in str(why)
    cost = job.cost(by="item")
    assert (cost.total.calls, cost.total.unpriced) == (2, 2)
    assert {line.key: line.calls for line in cost.lines} == dict.fromkeys(items, 1)

    job.replay().wait()
    assert calls.read_text() == "ab"
    job.fork("ask", set={"suffix": "!"}).wait()
    assert sorted(calls.read_text()) == sorted("aba!b!")


def test_what_failed_and_what_was_canceled(address: str) -> None:
    env = RemoteEnvironment("failing", jobmanager_address=address)
    env.from_collection([1, 0]).map(lambda x: 1 // x, name="divide").print()
    with pytest.raises(JobFailedError, match=r"divide.*ZeroDivisionError"):
        env.execute()

    def ticks() -> Iterator[int]:
        import time

        while True:
            yield 1
            time.sleep(0.01)

    with RemoteEnvironment("endless", jobmanager_address=address) as env:
        env.from_source(ticks).sink(lambda x: None)
        job = env.submit()
        with pytest.raises(TimeoutError):
            env.wait_for_completion(job, 0.1)
        assert job.cancel()
    assert job.status == "CANCELED"
    assert job.wait() is job
    with pytest.raises(JobCanceledError):
        job.result()


def test_a_block_that_raises_cancels(address: str) -> None:
    def endless() -> Iterator[int]:
        import time

        while True:
            yield 1
            time.sleep(0.01)

    jobs: list[Any] = []

    def abandon() -> None:
        with RemoteEnvironment("abandoned", jobmanager_address=address) as env:
            env.from_source(endless).sink(lambda x: None)
            jobs.append(env.submit())
            raise KeyError

    with pytest.raises(KeyError):
        abandon()
    assert [job.status for job in jobs] == ["CANCELED"]


def test_environment_variables_and_priority_are_sent(address: str) -> None:
    env = RemoteEnvironment(
        "settings", jobmanager_address=address, environment={"COLOUR": "blue"}, priority=3
    )
    env.from_collection([0]).map(lambda _: __import__("os").environ["COLOUR"]).print()
    job = env.submit(autostop=True)
    assert job.logs() == ["blue"]
    assert job.info().priority == 3


def test_clear_errors(address: str) -> None:
    env = RemoteEnvironment("nowhere", jobmanager_address="localhost:1")
    with pytest.raises(JobError, match="submit"):
        env.wait_for_completion()
    env.from_collection([1]).print()
    with pytest.raises(UnreachableError, match="Failed to connect to JobManager at localhost:1"):
        env.submit()
    env = RemoteEnvironment("unknown", jobmanager_address=address)
    with pytest.raises(NotFoundError, match="no job"):
        env.wait_for_completion("job-00000000000-0000000000")
    env = RemoteEnvironment("locked", jobmanager_address=address)
    env.from_collection([1]).map(functools.partial(max, key=threading.Lock())).print()
    with pytest.raises(GraphError, match="'locked' cannot be sent"):
        env.submit()
    with pytest.raises(GraphError):
        RemoteEnvironment("empty", jobmanager_address=address).submit()


def test_modules_of_the_project_travel_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownmod.py").write_text("def own(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import ownmod  # type: ignore[import-not-found]

    def packed(function: Any) -> Any:
        env = RemoteEnvironment("packing")
        env.from_collection([1]).map(function).print()
        graph: StreamGraph = env.stream_graph
        return pack_graph(graph)

    own = packed(ownmod.own)
    assert own.archive is not None
    assert b"ownmod" in own.archive
    monkeypatch.chdir("/")
    monkeypatch.delitem(sys.modules, "ownmod")
    installed = packed(__import__("textwrap").dedent)
    assert installed.archive is None
    assert installed.allow == ("textwrap",)
