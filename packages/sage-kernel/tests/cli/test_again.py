"""Replays, forks, lineage and cost: of managed jobs, and of runs of this machine."""

from __future__ import annotations

import json

import pytest

PROGRAM = """
import sys
from pathlib import Path
from sage.api import LocalEnvironment, MapFunction
from sage.api.calls import CallInfo

FOLDER = Path({folder!r})

def ask(text):
    with (FOLDER / "calls").open("a") as stream:
        stream.write(text + "\\n")
    if text == "b" and not (FOLDER / "healthy").exists():
        raise ValueError("no answer for b")
    return text.upper()

class Ask(MapFunction):
    def __init__(self, config):
        super().__init__()
        self.suffix = config["suffix"]

    def execute(self, item):
        answer = self.ctx.call(ask, item, call_info=CallInfo(kind="chat", model="tiny"))
        return "said " + answer + self.suffix

env = LocalEnvironment("asking")
if len(sys.argv) > 1:
    env.enable_checkpoints(store=sys.argv[1])
asked = env.from_collection(["a", "b", "c"]).map(
    Ask, {{"suffix": "."}}, name="ask", on_error="dead_letter"
)
asked.print()
env.submit().wait()
"""


class Asked:
    """A program that was run once: two items were answered, one was lost."""

    def __init__(self, shell, folder, run, options):
        self.shell = shell
        self.folder = folder
        self.run = run
        self.options = options

    def calls(self):
        return (self.folder / "calls").read_text().split()

    def __call__(self, verb, *arguments, **options):
        return self.shell("job", *verb.split(), self.run, *arguments, *self.options, **options)

    def json(self, verb, *arguments):
        done = self(verb, *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def program(shell, folder):
    return shell.write(f"asking_{folder.name}.py", PROGRAM.format(folder=str(folder)))


@pytest.fixture
def job(managed, tmp_path):
    """As a job of a JobManager."""
    script = program(managed, tmp_path)
    done = managed("job", "submit", "-q", "-w", str(script))
    assert done.returncode == 0, done.stderr
    return Asked(managed, tmp_path, done.stdout.strip(), ())


@pytest.fixture
def run(shell, tmp_path):
    """As a run of this machine; no JobManager runs."""
    script = program(shell, tmp_path)
    done = shell("run", str(script), "store")
    assert done.returncode == 0, done.stderr
    [facts] = json.loads(shell("job", "list", "--store", "store", "-o", "json").stdout)
    assert (facts["name"], facts["status"]) == ("asking", "FINISHED")
    made = Asked(shell, tmp_path, facts["run"], ("--store", "store"))
    made.script = script
    return made


@pytest.fixture(params=["job", "run"])
def asked(request):
    return request.getfixturevalue(request.param)


def test_outputs_why_and_cost(asked):
    outputs = asked.json("outputs")
    assert sorted(each["status"] for each in outputs) == ["dead_letter", "ok", "ok"]
    assert asked("outputs", "--status", "ok").stdout.count("\n") == 3
    item = next(each["record"] for each in outputs if each["status"] == "ok")
    chain = asked("why", item)
    assert chain.returncode == 0, chain.stderr
    assert f"{item} of run {asked.run}" in chain.stdout
    assert "ask: tiny" in chain.stdout
    assert [call["step"] for call in asked.json("why", item)["calls"]] == ["ask"]
    without = asked("why")
    assert without.returncode == 2
    words = " ".join(without.stderr.split())
    assert f"sage job outputs {asked.run}" in words
    unknown = asked("why", item + "9")
    assert unknown.returncode == 4
    assert f"nearest: {item}" in unknown.stderr
    cost = asked.json("cost", "--by", "model")
    assert cost["total"]["calls"] == 2
    assert cost["total"]["failed"] == 1
    assert cost["total"]["unpriced"] == 2  # unknown, not zero
    assert "price unknown" in asked("cost").stdout


def test_replay_makes_no_call(asked):
    made = asked.calls()
    (asked.folder / "healthy").touch()
    arguments = [str(asked.script), "store"] if hasattr(asked, "script") else ["--wait", "-q"]
    done = asked("replay", *arguments)
    assert done.returncode == 0, done.stderr
    assert asked.calls() == made
    printed = done.stdout
    if not hasattr(asked, "script"):
        printed = asked.shell("job", "logs", done.stdout.strip()).stdout
    assert "said A." in printed.splitlines()


def test_a_fork_computes_one_step_anew(asked):
    (asked.folder / "healthy").touch()
    before = len(asked.calls())
    arguments = [str(asked.script), "store"] if hasattr(asked, "script") else ["--wait", "-q"]
    done = asked("fork", *arguments, "--from", "ask", "--set", "suffix=!")
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    if not hasattr(asked, "script"):
        printed = asked.shell("job", "logs", done.stdout.strip()).stdout
    assert [line for line in printed.splitlines() if line.startswith("said ")] == [
        "said A!",
        "said B!",
        "said C!",
    ]
    assert asked.calls()[before:] == ["a", "b", "c"]


def test_only_what_failed(asked):
    (asked.folder / "healthy").touch()
    before = len(asked.calls())
    arguments = [str(asked.script), "store"] if hasattr(asked, "script") else ["--wait", "-q"]
    done = asked("fork", *arguments, "--where", "status=failed")
    assert done.returncode == 0, done.stderr
    assert asked.calls()[before:] == ["b"]


def test_dead_letters_are_listed_and_run_again(job):
    letters = job.json("deadletters")
    assert len(letters) == 1
    assert "no answer for b" in json.dumps(letters)
    assert letters == job.json("deadletters list")
    assert letters == job.json("deadletters --limit 5")
    assert job.shell("job", "deadletters").returncode == 2
    head, row = job("deadletters").stdout.splitlines()
    assert head.split() == ["ID", "STEP", "ATTEMPTS", "ERROR", "ITEM"]
    item = letters[0]["item_id"]
    assert " ".join(row.split()) == f"{item} ask 1 ValueError: no answer for b b"
    assert job.json("deadletters requeue", item, "--wait")["status"] == "FINISHED"
    (job.folder / "healthy").touch()
    before = len(job.calls())
    done = job("deadletters requeue", "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert (again["action"], again["parent"]) == ("requeue", job.run)
    assert job.calls()[before:] == ["b"]
    assert job.shell("job", "deadletters", again["id"]).stderr == "no items failed\n"


def test_what_a_run_needs_is_said(run):
    done = run("replay")
    assert done.returncode == 1
    assert "name the pipeline file or the program" in done.stderr
    other = run.shell.write(
        "other.py",
        "from sage.api import LocalEnvironment\n"
        "env = LocalEnvironment('other')\nenv.from_collection([1]).print()\nenv.submit().wait()\n",
    )
    done = run("replay", str(other))
    assert done.returncode == 1
    assert f"other.py submits 'other'; the run {run.run} is of 'asking'" in done.stderr
    done = run.shell("job", "cost", "run-none", "--store", "store")
    assert done.returncode == 4
    assert f"newest: {run.run}" in done.stderr
    listed = ("job", "list", "--store", "store")
    status = run.shell.json(*listed)[0]["status"]
    assert run.shell.json(*listed, "--status", status.lower()) == run.shell.json(*listed)
    assert run.shell(*listed, "--active").returncode == 2
    folder = next((run.folder / "store").glob(f"*/{run.run}"))
    assert run.shell("job", "cost", run.run[:-2], "--store", str(folder)).returncode == 0
    assert run("fork", str(run.script), "--set", "suffix=!").returncode == 2


def test_runs_of_this_machine_are_removed_with_their_calls(run):
    shell = run.shell
    cleanup = ("job", "cleanup", "--store", "store")
    listed = ("job", "list", "--store", "store", "-o", "json")
    assert "nothing to remove" in shell(*cleanup).stderr  # younger than seven days
    older = (*cleanup, "--older-than", "0", "-o", "json")
    assert json.loads(shell(*older, "--status", "failed").stdout) == []
    assert json.loads(shell(*older, "--dry-run").stdout) == [{"id": run.run}]
    assert len(json.loads(shell(*listed).stdout)) == 1
    assert json.loads(shell(*older).stdout) == [{"id": run.run}]
    assert json.loads(shell(*listed).stdout) == []
    assert shell("job", "cost", run.run, "--store", "store").returncode == 4
