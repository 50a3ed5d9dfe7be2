"""What the ledger says a run cost is what the server's own bill says, and a replay costs nothing.

Only calls that the server refused are made again here (429, 500). What it worked on and whose
answer was lost on the way is on its bill without the client ever learning of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.api.functions import MapFunction
from sage.kernel.runtime.job import Job
from sage.lib.io.sink import FileSink
from sage.lib.io.source import FileSource
from sage.lib.rag.generator.openai import OpenAIGenerator
from sage.lib.types import Answer
from sage.middleware.testing.referee import Referee

FAULTS = {"429": 0.1, "500": 0.1}
PRICES = {"m": {"input": 0.15, "output": 0.6}}
"""Those of the referee, USD per million tokens."""


@pytest.fixture
def referee() -> Iterator[Referee]:
    """With limits nobody reaches: without any, the scheduler learns one from the refusals."""
    with Referee(rpm=6e6, tpm=6e8, faults=FAULTS, retry_after=0.01) as running:
        yield running


class Row(MapFunction[Answer, dict[str, Any]]):
    """What the sink gets: much of it is another in every run, unless it comes from the ledger."""

    def execute(self, answer: Answer) -> dict[str, Any]:
        assert answer.query is not None
        return {
            "id": answer.query.id,
            "text": answer.text,
            "latency": answer.latency,
            "at": str(self.ctx.now()),
            "uuid": str(self.ctx.uuid()),
            "random": self.ctx.random().random(),
        }


def ask(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "question": text, "messages": [{"role": "user", "content": text}]}


def asking(item: dict[str, Any]) -> dict[str, Any]:
    return ask(item["id"], item["text"])


def follow_up(answer: Answer) -> dict[str, Any]:
    assert answer.query is not None
    return ask(answer.query.id, f"Say more about: {answer.text}")


def write_items(path: Path, count: int, different: int) -> None:
    """``count`` questions, of which so many are different."""
    with path.open("w") as file:
        for n in range(count):
            text = f"Question {n % different}: " + "and why? " * (n % different % 7)
            file.write(json.dumps({"id": f"i{n}", "text": text}) + "\n")


def pipeline(folder: Path, url: str, **options: Any) -> LocalEnvironment:
    """File, two model steps, file."""
    env = LocalEnvironment("billed", {"dead_letter_dir": str(folder)})
    env.enable_checkpoints(None, store=folder / "runs", durability="process")
    retries = options.pop("max_retries", 5)
    generator = {
        "model": "m", "base_url": url, "max_tokens": 12, "prices": PRICES, "max_retries": retries,
    }  # fmt: skip
    questions = {"file_path": str(folder / "items.jsonl"), "item_type": "record"}
    (
        env.from_source(FileSource, questions, uid="items")
        .map(asking, uid="asking")
        .map(OpenAIGenerator, generator, name="first", uid="first", concurrency=16, **options)
        .map(follow_up, uid="follow-up")
        .map(OpenAIGenerator, generator, name="second", uid="second", concurrency=16, **options)
        .map(Row, uid="row")
        .sink(FileSink, {"file_path": str(folder / "answers.jsonl")}, uid="file")
    )
    return env


def texts_of(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def paid(referee: Referee) -> list[Decimal]:
    """What each call cost, by the referee's books."""
    return [Decimal(call["cost"]) for call in referee.calls() if call["cost"] is not None]


def check_bill(job: Job, referee: Referee) -> None:
    """Every view of the cost has the referee's sum; not to the cent, but exactly."""
    sums = referee.summary()
    for by in ("item", "operator", "model"):
        cost = job.cost(by)
        assert sum(line.cost for line in cost.lines) == cost.total.cost == Decimal(sums["bill"])
        assert cost.unpriced == {}
        assert cost.total.calls == sums["answered"]
        assert cost.total.input_tokens == sums["input_tokens"]
        assert cost.total.output_tokens == sums["output_tokens"]


@pytest.mark.parametrize("who", ["client", "step"])
def test_the_cost_per_item_adds_up_to_the_bill(tmp_path: Path, referee: Referee, who: str) -> None:
    write_items(tmp_path / "items.jsonl", 150, different=150)
    options: dict[str, Any] = {}
    if who == "step":
        options = {"max_retries": 0, "retry": {"max_attempts": 6, "initial_delay": 0.0}}
    job = pipeline(tmp_path, referee.url, **options).submit().wait()
    sums = referee.summary()
    refused = sums["statuses"]["429"] + sums["statuses"]["500"]
    assert min(sums["statuses"]["429"], sums["statuses"]["500"]) > 0, "nothing was injected"
    assert sums["answered"] == 300
    check_bill(job, referee)
    total = job.cost().total
    assert (total.retries, total.failed) == ((refused, 0) if who == "client" else (0, refused))

    items = job.cost("item").lines
    assert len(items) == 150
    assert all(line.calls == 2 and line.cost > 0 for line in items)
    whys = [job.why(output.record) for output in job.outputs("ok")]
    calls = [call.cost for why in whys for call in why.calls if call.error is None]
    assert sorted(cost for cost in calls if cost is not None) == sorted(paid(referee))
    assert sorted(why.cost for why in whys) == sorted(line.cost for line in items)


def test_what_comes_from_a_shared_cache_is_not_paid(tmp_path: Path, referee: Referee) -> None:
    write_items(tmp_path / "items.jsonl", 150, different=150)
    job = pipeline(tmp_path, referee.url, cache="shared").submit().wait()
    assert referee.summary()["answered"] == 300
    check_bill(job, referee)
    texts = texts_of(tmp_path / "answers.jsonl")
    assert len(texts) == 150

    referee.reset()
    again = pipeline(tmp_path, referee.url, cache="shared").submit().wait()
    assert again.id != job.id
    assert referee.summary()["calls"] == 0
    check_bill(again, referee)
    cost = again.cost("item")
    assert (cost.total.calls, cost.total.hits, cost.total.cost) == (0, 300, Decimal(0))
    assert len(cost.lines) == 150
    assert texts_of(tmp_path / "answers.jsonl") == texts
    assert job.cost().total.cost > 0, "the run that paid keeps its cost"


def test_equal_questions_of_one_run_are_paid_once(tmp_path: Path, referee: Referee) -> None:
    write_items(tmp_path / "items.jsonl", 60, different=40)
    job = pipeline(tmp_path, referee.url, cache="shared").submit().wait()
    sums = referee.summary()
    assert (sums["answered"], sums["repeats_by_body"]) == (80, 0)
    check_bill(job, referee)


def test_a_run_with_equal_questions_can_be_replayed(tmp_path: Path, referee: Referee) -> None:
    write_items(tmp_path / "items.jsonl", 60, different=40)
    job = pipeline(tmp_path, referee.url, cache="shared").submit().wait()
    referee.reset()
    job.replay(output=tmp_path / "replayed").wait()
    assert referee.summary()["calls"] == 0
    written = (tmp_path / "answers.jsonl").read_bytes()
    assert (tmp_path / "replayed" / "answers.jsonl").read_bytes() == written
    assert len(job.cost("item").lines) == 60
    assert job.cost().total.hits == 40


@pytest.mark.timeout(300)
def test_a_replay_of_a_thousand_items_calls_nobody(tmp_path: Path, referee: Referee) -> None:
    write_items(tmp_path / "items.jsonl", 1000, different=1000)
    job = pipeline(tmp_path, referee.url).submit().wait()
    assert referee.summary()["answered"] == 2000
    check_bill(job, referee)
    written = (tmp_path / "answers.jsonl").read_bytes()
    assert len(written.splitlines()) == 1000

    referee.reset()
    job.replay(output=tmp_path / "replayed").wait()
    assert referee.summary()["calls"] == 0
    assert (tmp_path / "replayed" / "answers.jsonl").read_bytes() == written

    shorter = job.fork("second", set={"max_tokens": 6}, output=tmp_path / "forked").wait()
    assert referee.summary()["answered"] == 1000, "one step is computed anew"
    check_bill(shorter, referee)
    by_step = {line.key: line for line in shorter.cost().lines}
    assert (by_step["first"].calls, by_step["first"].hits, by_step["first"].cost) == (
        0,
        1000,
        Decimal(0),
    )
    assert (by_step["second"].calls, by_step["second"].hits) == (1000, 0)
    forked = (tmp_path / "forked" / "answers.jsonl").read_bytes()
    assert len(forked.splitlines()) == 1000
    assert forked != written
    assert (tmp_path / "answers.jsonl").read_bytes() == written
