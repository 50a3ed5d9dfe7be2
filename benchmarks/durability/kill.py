"""kill -9 at points spread over a pipeline with keyed state and two model steps.

    python -m benchmarks.durability.kill                # 2,000 items, 200 points
    python -m benchmarks.durability.kill --points 20
    python -m benchmarks.durability.kill --points 20 --control   # without the ledger

A pipeline (file source, keyed state, two model calls per item, file sink, SQLite sink) runs in a
process of its own against the referee, which counts. The process is killed when the referee has
answered a given number of calls, and started again until it finishes. Then it is shown that

- every item is in both sinks exactly once, and is what an undisturbed run would have written;
- no call was repeated whose response was in the ledger when the process died, and at most as many
  as were in flight.

``--control`` switches the ledger off: then calls since the last checkpoint must be seen to repeat,
or the counters count nothing. Ends with status 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sage.api import LocalEnvironment
from sage.api.functions import MapFunction
from sage.lib.io.sink import DatabaseSink, FileSink
from sage.lib.io.source import FileSource
from sage.lib.rag.generator.openai import OpenAIGenerator
from sage.lib.types import Answer
from sage.middleware.testing.referee import Referee

ROOT = Path(__file__).resolve().parents[2]
GROUPS = 17
TABLE = "CREATE TABLE answers (id TEXT PRIMARY KEY, n INTEGER, first TEXT, second TEXT)"


class Plan(NamedTuple):
    """What is run.

    Attributes:
        items: Number of items; each makes two calls.
        points: Number of kills.
        concurrency: Calls in flight of each model step.
        ledger: Whether calls are recorded.
        interval: Seconds between two checkpoints.
        latency: Seconds that the server takes for an answer.
    """

    items: int = 2000
    points: int = 200
    concurrency: int = 16
    ledger: bool = True
    interval: float = 0.3
    latency: float = 0.02


# ------------------------------------------------------------------ the pipeline


class Number(MapFunction[dict[str, Any], dict[str, Any]]):
    """Numbers the items of each group: keyed state that shows whether an item came twice."""

    def open(self, ctx: Any) -> None:
        self._seen = ctx.value_state("seen", 0)

    def execute(self, item: dict[str, Any]) -> dict[str, Any]:
        self._seen.value += 1
        n = self._seen.value
        content = f"{item['text']} It is number {n} of group {item['group']}."
        return {
            "id": item["id"],
            "metadata": {"n": n},
            "messages": [{"role": "user", "content": content}],
            "question": content,
        }


def follow_up(answer: Answer) -> dict[str, Any]:
    """The second question, which depends on the first answer."""
    assert answer.query is not None
    return {
        "id": answer.query.id,
        "metadata": {**answer.query.metadata, "first": answer.text},
        "messages": [{"role": "user", "content": f"Say more about: {answer.text}"}],
        "question": answer.query.text,
    }


def row(answer: Answer) -> dict[str, Any]:
    """What the sinks get."""
    query = answer.query
    assert query is not None
    facts = query.metadata
    return {"id": query.id, "n": facts["n"], "first": facts["first"], "second": answer.text}


def build(folder: Path, url: str, plan: Plan) -> LocalEnvironment:
    """The pipeline, with its files in ``folder``."""
    env = LocalEnvironment("killed")
    env.enable_checkpoints(
        interval=plan.interval,
        store=folder / "runs",
        durability="process",
        ledger=plan.ledger,
    )
    generator = {"model": "m", "base_url": url, "max_tokens": 12}
    source = env.from_source(
        FileSource, {"file_path": str(folder / "items.jsonl"), "item_type": "record"}, uid="items"
    )
    answers = (
        source.key_by(lambda item: item["group"], uid="by-group")
        .map(Number, uid="number")
        .map(OpenAIGenerator, generator, concurrency=plan.concurrency, uid="first")
        .map(follow_up, uid="follow-up")
        .map(OpenAIGenerator, generator, concurrency=plan.concurrency, uid="second")
        .map(row, uid="row")
    )
    answers.sink(FileSink, {"file_path": str(folder / "answers.jsonl")}, uid="file")
    url = f"sqlite:///{folder / 'answers.db'}"
    answers.sink(DatabaseSink, {"url": url, "table": "answers"}, uid="database")
    return env


def prepare(folder: Path, plan: Plan) -> None:
    """Write the input and make the table."""
    with (folder / "items.jsonl").open("w") as file:
        for n in range(plan.items):
            item = {"id": f"i{n}", "group": n * n % GROUPS, "text": f"Item {n} is of some kind."}
            file.write(json.dumps(item) + "\n")
    with sqlite3.connect(folder / "answers.db") as database:
        database.execute(TABLE)
    database.close()


# ------------------------------------------------------------------ killing it


class Kill(NamedTuple):
    """One kill.

    Attributes:
        at: Calls the referee had answered.
        distinct: Different calls it had answered, once those in flight were worked off.
        repeats: Calls that were answered again until then, since the beginning.
        ledgered: Calls in the ledger.
    """

    at: int
    distinct: int
    repeats: int
    ledgered: int


def start(folder: Path, url: str, plan: Plan) -> subprocess.Popen[bytes]:
    """One process of the run."""
    command = [sys.executable, "-m", "benchmarks.durability.kill", "--job", str(folder), url]
    return subprocess.Popen(
        [*command, json.dumps(plan)],
        cwd=ROOT,
        env={**os.environ, "SAGE_HOME": str(folder / "home")},
    )


def settled(referee: Referee) -> dict[str, Any]:
    """The referee's sums when nothing is in flight any more; its answers take milliseconds."""
    while (sums := referee.summary())["in_flight"]:
        time.sleep(0.002)
    return sums


def ledgered(folder: Path) -> int:
    """Different calls that have a response in the ledger."""
    path = folder / "runs" / "ledger.sqlite"
    if not path.exists():
        return 0
    database = sqlite3.connect(path)
    try:
        sql = (
            "SELECT count(DISTINCT request) FROM calls JOIN steps ON steps.id = calls.step "
            "WHERE output IS NOT NULL AND uid IN ('first', 'second')"
        )
        return int(database.execute(sql).fetchone()[0])
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # killed before the first call
            return 0
        raise
    finally:
        database.close()


def finished(folder: Path) -> bool:
    """Whether the run is over, whatever became of its process after that."""
    return any(
        json.loads(facts.read_text())["status"] == "FINISHED"
        for facts in folder.glob("runs/*/*/run.json")
    )


def run(folder: Path, plan: Plan, report: Any = None) -> tuple[list[Kill], dict[str, Any]]:
    """Run, kill and restart until it finishes; the kills, and the referee's sums at the end."""
    prepare(folder, plan)
    total = 2 * plan.items
    kills: list[Kill] = []
    with Referee(latency=plan.latency) as referee, ThreadPoolExecutor(4) as threads:
        while True:
            process = start(folder, referee.url, plan)
            ended: Future[Any] = threads.submit(process.wait)
            if len(kills) < plan.points:
                # By progress: repeated calls do not count, or a control run would be killed early.
                goal = (len(kills) + 0.5) * total / plan.points
                reached = threads.submit(referee.wait, distinct=int(goal), timeout=600)
                wait([ended, reached], return_when=FIRST_COMPLETED)
                if not ended.done():
                    process.send_signal(signal.SIGKILL)
                    ended.result()
                    sums = settled(referee)
                    kills.append(
                        Kill(
                            sums["answered"],
                            sums["distinct_bodies"],
                            sums["repeats_by_body"],
                            ledgered(folder),
                        )
                    )
                    if report is not None and len(kills) % 10 == 0:
                        report(len(kills), sums)
                    if not finished(folder):
                        continue
                    return kills, sums  # killed on its last metres; another start is another run
            if ended.result() != 0:
                raise RuntimeError(f"the job ended with status {ended.result()}")
            return kills, settled(referee)


# ------------------------------------------------------------------ the verdict


def check_output(folder: Path, plan: Plan) -> list[str]:
    """What is wrong with what the sinks have."""
    with (folder / "answers.jsonl").open() as file:
        written = [json.loads(line) for line in file]
    database = sqlite3.connect(folder / "answers.db")
    names = ("id", "n", "first", "second")
    rows = [dict(zip(names, r, strict=True)) for r in database.execute("SELECT * FROM answers")]
    database.close()
    wanted = [f"i{n}" for n in range(plan.items)]
    numbers: Counter[int] = Counter()
    expected = {}
    for n in range(plan.items):
        group = n * n % GROUPS
        numbers[group] += 1
        expected[f"i{n}"] = numbers[group]
    faults = []
    for name, found in (("file", written), ("database", rows)):
        counts = Counter(one["id"] for one in found)
        lost = set(wanted) - set(counts)
        twice = {item for item, count in counts.items() if count > 1}
        wrong = {one["id"] for one in found if one["n"] != expected.get(one["id"])}
        for what, items in (("lost", lost), ("duplicate", twice), ("with wrong state", wrong)):
            if items:
                faults.append(f"{name}: {len(items)} items {what}: {sorted(items)[:5]}")
    if [one["id"] for one in written] != wanted:
        faults.append("file: the order is not that of the input")
    if sorted(written, key=lambda one: one["id"]) != sorted(rows, key=lambda one: one["id"]):
        faults.append("file and database differ")
    return faults


def check_calls(kills: list[Kill], sums: dict[str, Any], plan: Plan) -> list[str]:
    """What is wrong with the calls that were made."""
    faults = []
    if sums["distinct_bodies"] != 2 * plan.items:
        faults.append(f"{sums['distinct_bodies']} different calls, expected {2 * plan.items}")
    for number, (kill, again) in enumerate(repeated(kills, sums)):
        in_flight = kill.distinct - kill.ledgered
        if again > in_flight:
            faults.append(f"kill {number}: {again} calls repeated, {in_flight} were not ledgered")
        if again > 2 * plan.concurrency:
            faults.append(
                f"kill {number}: {again} calls repeated, {2 * plan.concurrency} in flight"
            )
    return faults


def repeated(kills: list[Kill], sums: dict[str, Any]) -> list[tuple[Kill, int]]:
    """Each kill, and how many calls were repeated between it and the next one."""
    seen = [*(kill.repeats for kill in kills), sums["repeats_by_body"]]
    return [(kill, b - a) for kill, (a, b) in zip(kills, pairwise(seen), strict=True)]


def report_progress(kills: int, sums: dict[str, Any]) -> None:
    print(f"{kills} kills, {sums['distinct_bodies']} calls, {sums['repeats_by_body']} repeated",
          file=sys.stderr, flush=True)  # fmt: skip


def main() -> int:
    if sys.argv[1:2] == ["--job"]:
        folder, url, plan = sys.argv[2:]
        build(Path(folder), url, Plan(*json.loads(plan))).submit().wait()
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=200, help="number of kills")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--control", action="store_true", help="without the ledger")
    given = parser.parse_args()
    plan = Plan(given.items, given.points, given.concurrency, ledger=not given.control)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills, sums = run(folder, plan, report_progress)
        faults = check_output(folder, plan)
    repeats = sums["repeats_by_body"]
    if given.control:
        if repeats <= len(kills):
            faults.append(f"only {repeats} calls repeated without a ledger: the counters are blind")
    else:
        faults += check_calls(kills, sums, plan)
    most = max((again for _, again in repeated(kills, sums)), default=0)
    open_calls = sum(kill.distinct - kill.ledgered for kill in kills) if plan.ledger else None
    for what, value in (
        ("items", plan.items),
        ("kills", len(kills)),
        ("calls answered", sums["answered"]),
        ("different calls", sums["distinct_bodies"]),
        ("calls repeated", repeats),
        ("calls not in the ledger when killed, sum", open_calls),
        ("most repeated after one kill", most),
        ("faults", len(faults)),
    ):
        print(f"{what:42} {value}")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
