"""Jobs of a real daemon: submitting, output, events, metrics, steering, limits, removing."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import (
    AuthError,
    ConfigError,
    GraphError,
    JobCanceledError,
    JobError,
    JobFailedError,
    NotFoundError,
    PluginError,
    UnreachableError,
)
from sage.kernel.jobmanager.client import JobManagerClient, raise_for_status
from sage.kernel.ledger.forgetting import compact

Program = Callable[..., Path]

SQUARES = """
import sys
from sage.api import LocalEnvironment

print("arguments", sys.argv[1:])
env = LocalEnvironment("squares")
env.from_collection(range(5)).map(lambda x: x * x, name="square").print()
job = env.submit()
print("id", job)
job.wait()
"""

HELD = """
import os, sys, time
from pathlib import Path
from sage.api import LocalEnvironment

go = Path(sys.argv[1])

def wait(x):
    while not go.exists():
        time.sleep(0.01)
    return x

env = LocalEnvironment("held")
env.from_collection(range(3)).map(wait, name="wait").print()
env.submit()
"""
"""Its map waits for a file; the program ends before its pipeline does."""


def test_a_program_runs_as_it_is(client: JobManagerClient, program: Program) -> None:
    job = client.submit_program(program(SQUARES), ["a", "b c"], name="five squares")
    assert (job.name, job.kind, job.action) == ("five squares", "program", "run")
    ended = raise_for_status(client.wait(job.id, 60))
    assert (ended.status, ended.attempt, ended.error) == ("FINISHED", 1, None)
    assert [a.exit for a in ended.attempts] == [0]
    lines = client.logs(job.id)
    assert lines == ["arguments ['a', 'b c']", f"id {job.id}", "0", "1", "4", "9", "16"]
    assert client.logs(job.id, tail=2) == ["9", "16"]
    assert list(client.follow_logs(job.id)) == lines
    events = client.events(job.id)
    assert [e.data["status"] for e in events if e.type == "status"] == [
        "SUBMITTED",
        "STARTING",
        "RUNNING",
        "FINISHED",
    ]
    assert list(client.follow_events(job.id)) == events
    assert client.events(job.id, after=events[2].id) == events[3:]
    sample = client.metrics(job.id)
    assert sample is not None
    assert sample.operators["square"]["out"] == 5
    assert client.metrics_history(job.id)[-1] == sample
    assert list(client.follow_metrics(job.id))[-1] == sample
    assert [n["name"] for n in client.graph(job.id)["nodes"]][1] == "square"
    assert [each.id for each in client.jobs()] == [job.id]
    assert client.job(job.id[:14]).id == job.id


def test_the_folder_of_a_job_is_private(client: JobManagerClient, program: Program) -> None:
    job = client.wait(client.submit_program(program(SQUARES)).id, 60)
    folder = Path(job.folder)
    assert folder.stat().st_mode & 0o077 == 0
    for path in [*folder.iterdir(), folder.parent.parent / "jobs.sqlite"]:
        assert path.is_dir() or path.stat().st_mode & 0o077 == 0 or path.is_socket(), path


def test_a_program_brings_its_modules_and_finds_its_files(
    client: JobManagerClient, program: Program, tmp_path: Path
) -> None:
    program("def twice(x):\n    return 2 * x\n", "helper.py")
    program("nine", "data.txt")
    script = program(
        "from pathlib import Path\n"
        "from helper import twice\n"
        "from sage.api import RemoteEnvironment\n"
        "env = RemoteEnvironment('modules', jobmanager_address='localhost:1')\n"
        "env.from_collection([1, 2]).map(twice).print()\n"
        "job = env.submit()\n"
        "env.wait_for_completion(job)\n"
        "print(Path(__file__).with_name('data.txt').read_text())\n"
        "Path('written').write_text('here')\n"
    )
    job = client.submit_program(script, include=["data.txt"])
    raise_for_status(client.wait(job.id, 60))
    assert client.logs(job.id) == ["2", "4", "nine"]
    assert (tmp_path / "written").read_text() == "here"  # the current folder of who submitted


def test_failures_say_why(client: JobManagerClient, program: Program) -> None:
    failing = client.submit_program(program(SQUARES.replace("x * x", "1 // x"), "zero.py"))
    raising = client.submit_program(program("raise SystemExit('no luck')", "exits.py"))
    broken = client.submit_program(program("this is no Python", "broken.py"))
    ended = client.wait(failing.id, 60)
    assert ended.status == "FAILED"
    assert ended.attempts[0].exit == 3
    with pytest.raises(JobFailedError, match=r"square.*ZeroDivisionError"):
        raise_for_status(ended)
    assert "ends with 'no luck'" in str(client.wait(raising.id, 60).error).replace("ended", "ends")
    assert "SyntaxError" in str(client.wait(broken.id, 60).error)
    assert "SyntaxError" in "\n".join(client.logs(broken.id))


def test_pause_resume_and_cancel(
    client: JobManagerClient, program: Program, tmp_path: Path, until: Any
) -> None:
    go = tmp_path / "go"
    job = client.submit_program(program(HELD), [str(go)])
    until.status(client, job, "RUNNING")
    until(lambda: client.metrics(job.id), "the pipeline runs")
    client.pause(job.id)
    until.status(client, job, "PAUSED")
    client.resume(job.id)
    until.status(client, job, "RUNNING")
    lines: list[str] = []
    follower = threading.Thread(target=lambda: lines.extend(client.follow_logs(job.id)))
    follower.start()
    with pytest.raises(TimeoutError, match="still RUNNING"):
        client.wait(job.id, 0.2)
    go.touch()
    assert client.wait(job.id, 60).status == "FINISHED"
    follower.join(60)
    assert lines == ["0", "1", "2"]
    with pytest.raises(JobError, match="no process"):
        client.pause(job.id)

    other = client.submit_program(program(HELD), [str(tmp_path / "never")])
    until(lambda: client.metrics(other.id), "the pipeline runs")
    client.cancel(other.id, timeout=0.5)  # the map cannot be interrupted: the process is killed
    ended = client.wait(other.id, 60)
    assert ended.status == "CANCELED"
    with pytest.raises(JobCanceledError):
        raise_for_status(ended)
    assert client.cancel(other.id).status == "CANCELED"


def test_asked_twice_to_end_a_job_ends_as_well(
    client: JobManagerClient, program: Program, tmp_path: Path, until: Any
) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    stubborn = (
        "import sys, time\nfrom pathlib import Path\nfrom sage.api import LocalEnvironment\n"
        "def step(x):\n    Path(sys.argv[2]).touch()\n"
        "    while not Path(sys.argv[1]).exists():\n        time.sleep(0.01)\n    return x\n"
        "env = LocalEnvironment('stubborn')\nenv.from_collection([1]).map(step).print()\n"
        "env.submit().wait()\n"
    )
    job = client.submit_program(program(stubborn), [str(go), str(begun)])
    until(begun.exists, "the step has begun")
    client.cancel(job.id, timeout=60)
    until(
        lambda: [e for e in client.events(job.id) if e.data.get("status") == "CANCELING"], "asked"
    )
    for _ in range(3):
        client.cancel(job.id, timeout=60)
    go.touch()
    (attempt,) = client.wait(job.id, 60).attempts
    assert (attempt.status, attempt.exit) == ("CANCELED", 130)


def test_places_are_few_and_given_by_priority(
    daemon: Any, program: Program, tmp_path: Path, until: Any
) -> None:
    client = daemon.start(max_jobs=1, max_waiting=3)
    go = tmp_path / "go"
    path = program(HELD)
    first = client.submit_program(path, [str(go)])
    low, high, canceled = (
        client.submit_program(path, [str(go)], priority=n, name=f"p{n}") for n in (1, 5, 3)
    )
    with pytest.raises(JobError, match="max_waiting"):
        client.submit_program(path, [str(go)])
    assert {client.job(j.id).status for j in (low, high, canceled)} == {"SUBMITTED"}
    assert client.cancel(canceled.id).status == "CANCELED"
    assert client.status().running == 1
    assert [j.id for j in client.jobs(status="active")] == [high.id, low.id, first.id]
    go.touch()
    ended = [client.wait(j.id, 60) for j in (first, high, low)]
    assert [j.status for j in ended] == ["FINISHED"] * 3
    begun = [j.attempts[0].started for j in ended]
    assert begun == sorted(begun)


def test_specs_name_registered_or_allowed_operators(client: JobManagerClient) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "in", "kind": "source", "op": "builtin:collection", "items": [3, 4]},
        {"id": "double", "kind": "map", "op": "operator:neg", "inputs": ["in"]},
        {"id": "out", "kind": "sink", "op": "builtin:print", "inputs": ["double"]},
    ]
    spec = {"version": 1, "name": "spec", "steps": steps}
    with pytest.raises(GraphError, match=r"double: 'operator:neg' is not allowed.*--allow"):
        client.submit_spec(spec)
    steps[1]["op"] = "NoSuchOperator"
    with pytest.raises(PluginError, match="NoSuchOperator"):
        client.submit_spec(spec)
    steps[1]["op"] = "textwrap:dedent"
    steps[0]["items"] = ["  a", " b"]
    job = client.submit_spec(spec, allow=["textwrap"])
    assert raise_for_status(client.wait(job.id, 60)).kind == "spec"
    assert client.logs(job.id) == ["a", "b"]


def test_code_can_be_refused(daemon: Any, program: Program) -> None:
    client = daemon.start(allow_code=False, allow=["textwrap"])
    with pytest.raises(ConfigError, match="allow_code"):
        client.submit_program(program(SQUARES))
    spec = {
        "version": 1,
        "name": "allowed",
        "steps": [
            {"id": "in", "kind": "source", "op": "builtin:collection", "items": [" a"]},
            {"id": "map", "kind": "map", "op": "textwrap:dedent", "inputs": ["in"]},
            {"id": "out", "kind": "sink", "op": "builtin:print", "inputs": ["map"]},
        ],
    }
    with pytest.raises(ConfigError, match="allow_code"):
        client.submit_spec(spec, allow=["os"])
    job = client.submit_spec(spec)
    assert client.wait(job.id, 60).status == "FINISHED"


def test_secrets_of_the_environment_are_masked_in_the_log(
    client: JobManagerClient, program: Program
) -> None:
    script = program(
        "import os\nprint('key', os.environ['MY_API_KEY'])\nprint(os.environ['LEVEL'])"
    )
    secret = "sk-not-to-be-seen-1234"
    job = client.submit_program(script, environment={"MY_API_KEY": secret, "LEVEL": "info"})
    assert client.wait(job.id, 60).status == "FINISHED"
    assert client.logs(job.id) == ["key ********", "info"]
    assert secret not in Path(job.folder, "job.log").read_text()
    shown = repr([client.job(job.id), *client.events(job.id)])
    assert secret not in shown


def test_removing_and_cleaning_up(
    client: JobManagerClient, program: Program, tmp_path: Path, until: Any
) -> None:
    done = client.wait(client.submit_program(program(SQUARES)).id, 60)
    failed = client.wait(client.submit_program(program("1 / 0", "f.py")).id, 60)
    running = client.submit_program(program(HELD), [str(tmp_path / "never")])
    until.status(client, running, "RUNNING")
    with pytest.raises(JobError, match="cancel it"):
        client.remove(running.id)
    assert client.cleanup(older_than=3600) == []
    assert client.cleanup(status=["FAILED"], dry_run=True) == [failed.id]
    assert client.cleanup(status=["FAILED"]) == [failed.id]
    client.remove(done.id)
    assert not Path(done.folder).exists()
    assert [j.id for j in client.jobs()] == [running.id]
    with pytest.raises(NotFoundError, match="sage job list"):
        client.job(done.id)
    with pytest.raises(ConfigError, match="'EATEN'"):
        client.jobs(status="eaten")


def test_the_calls_of_a_removed_job_are_removed(
    client: JobManagerClient, program: Program, tmp_path: Path
) -> None:
    code = """
        from sage.api import LocalEnvironment, MapFunction

        class Ask(MapFunction):
            def execute(self, item):
                return self.ctx.call(lambda text: text + " answered", item)

        env = LocalEnvironment("asking")
        env.from_collection(["a question to forget " * 200]).map(Ask).sink(lambda answer: None)
        env.submit()
    """
    job = client.wait(client.submit_program(program(textwrap.dedent(code))).id, 60)
    assert client.cost(job.id)["total"]["calls"] == 1
    ledger = next(tmp_path.rglob("ledger.sqlite"))
    assert b"a question to forget" in next(ledger.parent.glob("*.journal")).read_bytes()
    client.remove(job.id)
    compact(ledger)
    assert b"a question to forget" not in b"".join(
        file.read_bytes() for file in ledger.parent.iterdir() if file.is_file()
    )


def test_services_register_and_go_stale(client: JobManagerClient, until: Any) -> None:
    made = client.register_service(
        "embedder", "http://127.0.0.1:9", kind="model", metadata={"dim": 384}, ttl=0.2
    )
    assert made.health == "healthy"
    assert client.services() == [made]
    until(lambda: client.services()[0].health == "stale", "the service is stale")
    again = client.register_service("embedder", "http://127.0.0.1:9", ttl=60)
    assert again.registered == made.registered
    assert again.health == "healthy"
    client.deregister_service("embedder")
    assert client.services() == []
    with pytest.raises(NotFoundError, match="'embedder'"):
        client.deregister_service("embedder")


def test_connection_errors_name_the_command_that_helps(daemon: Any) -> None:
    nobody = JobManagerClient("localhost:1")
    with pytest.raises(
        UnreachableError,
        match=r"^Failed to connect to JobManager at localhost:1: .*sage jobmanager start$",
    ):
        nobody.jobs()
    with pytest.raises(UnreachableError, match="Failed to connect to JobManager"):
        nobody.health()
    daemon.start()
    assert JobManagerClient(daemon.url, "").health()
    with pytest.raises(AuthError, match="jobmanager-token"):
        JobManagerClient(daemon.url, "wrong" * 8).jobs()
    with pytest.raises(ConfigError, match="host:port"):
        JobManagerClient("no address")


def test_metrics_for_prometheus(
    client: JobManagerClient, program: Program, tmp_path: Path, until: Any
) -> None:
    job = client.submit_program(program(HELD), [str(tmp_path / "never")])
    until(lambda: client.metrics(job.id), "metrics")
    text = client.prometheus()
    assert 'sage_jobmanager_jobs{status="RUNNING"} 1' in text
    assert f'sage_job_info{{job="job",job_id="{job.id}",status="RUNNING"}} 1' in text
    assert 'operator="wait"' in text
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
