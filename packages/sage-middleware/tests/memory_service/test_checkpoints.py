"""Memory goes back with the checkpoints of a job.

What is left after ``kill -9`` and a resume is what an uninterrupted run leaves.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sage.api import LocalEnvironment, MapFunction
from sage.common.errors import JobError
from sage.lib.memory import MemoryWrite, SessionMemory
from sage.lib.types import Answer, Query
from sage.middleware.services.memory import MemoryService
from sage.middleware.services.memory.journal import JOURNAL

PROGRAM = """
import json, sys
from sage.api import LocalEnvironment, MapFunction
from sage.lib.io.sink import FileSink
from sage.lib.memory import MemoryRecall, MemoryWrite, SessionMemory
from sage.lib.types import Answer, Query
from sage.middleware.services.memory.journal import Journal

home, place, number = sys.argv[1], sys.argv[2], int(sys.argv[3])


def here():
    print("here", flush=True)
    sys.stdin.read()  # until it is killed


class Stop(MapFunction):
    "Stops for the kill at one item."

    def __init__(self, place_):
        super().__init__()
        self.place = place_

    def execute(self, item):
        query = getattr(item, "query", item)
        if self.place == place and query.metadata["n"] == number:
            here()
        return item


class Count(MapFunction):
    "Changes keys, notes and rows in ways that would show if they were done twice."

    def execute(self, item):
        memory, n = self.call_service["memory_service"], item.query.metadata["n"]
        memory.put("counts", f"k{n % 5}", memory.get("counts", f"k{n % 5}", 0) + 1)
        memory.put("counts", "total", memory.get("counts", "total", 0) + 1, ttl=3600)
        memory.update("counts", "sum", lambda old: n + (old if isinstance(old, int) else 0))
        memory.task_note("work", f"note {n}")
        memory.insert("made", f"row {n}", {"n": n})
        if n % 3 == 2:
            memory.delete("made", where={"n": n - 1})
        if n % 4 == 3:
            row = memory.scan("made", {"n": n})[0]
            memory.update("made", row["id"], row["text"] + "!", {"changed": n}, merge=True)
        return item


def answered(found):
    query = found.query
    seen = [passage.text for passage in found.passages]
    n = query.metadata["n"]
    fact = n - 7 if n % 7 == 6 and n > 7 else n
    text = f"tower {fact} has {fact * 3} floors"
    return Answer(text=text, query=query, metadata={"seen": seen})


def shown(answer):
    meta = answer.query.metadata
    said = [m["content"] for m in meta["history"]]
    return {"n": meta["n"], "history": said, "seen": answer.metadata["seen"]}


if place == "entry":  # between what the journal notes and the change itself
    add = Journal._add
    left = [number]

    def adding(self, *args):
        add(self, *args)
        left[0] -= 1
        if left[0] == 0:
            here()

    Journal._add = adding
if place == "rollback":  # after some of the entries were undone
    done = Journal.done
    undone = [number]

    def counted(self, key):
        done(self, key)
        undone[0] -= 1
        if undone[0] == 0:
            here()

    Journal.done = counted

env = LocalEnvironment("chat")
env.enable_checkpoints(interval=None, every=4, store=home + "/runs", durability="process")
env.set_memory(
    {
        "data_dir": home + "/memory",
        "embedding_model": "hash",
        "collections": {"notes": {}, "made": {}, "counts": {"backend_type": "KV"}},
        "session": {"max_tokens": 60},
    }
)
queries = [
    Query(text=f"how high is tower {n}?", metadata={"n": n, "session": f"s{n % 2}"})
    for n in range(40)
]
stream = env.from_collection(queries, uid="questions").map(Stop("start"), uid="start")
stream = stream.map(SessionMemory, uid="asked").map(Stop("asked"), uid="after asking")
stream = stream.map(MemoryRecall, {"top_k": 3}, uid="recall").map(answered, uid="answer")
stream = stream.map(SessionMemory, uid="said").map(Count, uid="count")
stream = stream.map(MemoryWrite, {"collection": "notes", "what": "exchange"}, uid="notes")
stream = stream.map(MemoryWrite, uid="facts").map(Stop("end"), uid="end")
stream.map(shown, uid="shown").sink(FileSink, {"file_path": home + "/out.jsonl"}, uid="out")
job = env.submit()
job.wait()
print("ended", job.restored_from, flush=True)
"""

FILLING = """
import sys, uuid
from sage.api import LocalEnvironment
from sage.lib.io.sink import CollectionSink
from sage.lib.types import Document

home, stop_at = sys.argv[1], int(sys.argv[3])
written = CollectionSink._write


def write(self, items):
    written(self, items)
    if any(document.metadata["version"] == stop_at for _, found in items for document in found):
        print("here", flush=True)
        sys.stdin.read()


CollectionSink._write = write


def passages(version):
    "Ids of another run are others: what was written before a kill must go."
    source = f"file {version % 5}"
    return [
        Document(
            id=str(uuid.uuid4()),
            text=f"{source} part {part} version {version}",
            metadata={"source": source, "version": version},
        )
        for part in range(1 + version % 3)
    ]


env = LocalEnvironment("fill")
env.enable_checkpoints(interval=None, every=4, store=home + "/runs", durability="process")
settings = {"collection_name": "docs", "data_dir": home + "/memory"}
settings["embedding"] = {"method": "hash"}
if sys.argv[2] == "replace":
    settings["replace_by"] = "source"
stream = env.from_collection(range(40), uid="versions").map(passages, uid="passages")
stream.sink(CollectionSink, settings, uid="docs", concurrency=2)
job = env.submit()
job.wait()
print("ended", job.restored_from, flush=True)
"""


def start(program: str, home: Path, place: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(home), place, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SAGE_HOME": str(home / "sage")},
    )


def killed(program: str, home: Path, place: str, number: int) -> None:
    process = start(program, home, place, number)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finished(program: str, home: Path, place: str = "") -> str:
    out = start(program, home, place, -1).communicate(timeout=120)[0].split()
    assert out[0] == "ended"
    return out[1]


def state(home: Path) -> dict[str, Any]:
    """All that the run left, but for ids and times."""
    with MemoryService(data_dir=str(home / "memory"), embedding_model="hash") as service:
        tiers = service.collection("tiers")
        facts = {entry["id"]: entry["text"] for entry in service.long_term.entries()}
        uses = [service.long_term.use_of(id_) for id_ in facts]
        sessions = [service.history(name) for name in service.list_sessions()]
        made = service.scan("made")
        return {
            "out": (home / "out.jsonl").read_text(),
            "facts": sorted(facts.items()),
            "uses": sorted((u["seen"], u["recalled"]) for u in uses),
            "log": sorted(tiers.keys("recalled/")),
            "sessions": [(s["messages"], s["dropped"], s["tokens"]) for s in sessions],
            "turns": [[t["number"] for t in s["turns"]] for s in sessions],
            "task": [(n["number"], n["text"]) for n in service.task_state("work")["notes"]],
            "notes": sorted(row["text"] for row in service.scan("notes")),
            "made": sorted((row["text"], json.dumps(row["metadata"])) for row in made),
            "counts": service.scan("counts"),
        }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("uninterrupted")
    assert finished(PROGRAM, home) == "None"
    left = state(home)
    assert len(left["notes"]) == 40
    assert dict(left["counts"])["total"] == 40
    assert max(seen for seen, _ in left["uses"]) == 1
    assert left["sessions"][0][1] > 0, "some turns have left the window"
    return left


@pytest.mark.parametrize(
    "kills",
    [
        [("end", 3), ("start", 13), ("end", 38)],
        [("asked", 6), ("asked", 7), ("end", 27), ("start", 39)],
        [("entry", 17), ("entry", 40), ("entry", 91), ("entry", 203)],
        [("end", 15), ("rollback", 1), ("end", 30), ("rollback", 9), ("rollback", 2)],
    ],
    ids=["at items", "in one record", "between entry and change", "while rolling back"],
)
def test_kill_9_and_resume_leave_what_an_uninterrupted_run_leaves(
    tmp_path: Path, uninterrupted: dict[str, Any], kills: list[tuple[str, int]]
) -> None:
    for place, number in kills:
        killed(PROGRAM, tmp_path, place, number)
    assert finished(PROGRAM, tmp_path) != "None"
    assert state(tmp_path) == uninterrupted


@pytest.mark.parametrize("how", ["insert", "replace"])
def test_a_collection_that_is_filled_has_each_document_once(tmp_path: Path, how: str) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    finished(FILLING, whole, how)
    for stop_at in (5, 6, 23, 38):
        killed(FILLING, torn, how, stop_at)
    assert finished(FILLING, torn, how) != "None"

    def texts(home: Path) -> list[str]:
        with MemoryService(data_dir=str(home / "memory")) as service:
            return sorted(row["text"] for row in service.scan("docs"))

    assert texts(torn) == texts(whole)
    assert len(texts(torn)) == (79 if how == "insert" else len(set(texts(torn))))
    with MemoryService(data_dir=str(torn / "memory")) as service:
        assert service.has_collection(JOURNAL)


def talking(home: Path, answer: Any, **settings: Any) -> LocalEnvironment:
    """Questions, calls that overlap, answers; both are written by different tasks."""
    env = LocalEnvironment("talk")
    settings = {"interval": None, "durability": "process", **settings}
    env.enable_checkpoints(store=home / "runs", **settings)
    memory = {
        "data_dir": str(home / "memory"),
        "embedding_model": "hash",
        "collections": {"notes": {}},
    }
    env.set_memory(memory)
    questions = [
        Query(text=f"what is {n}?", metadata={"n": n, "session": f"s{n % 3}"}) for n in range(60)
    ]
    stream = env.from_collection(questions, uid="talk").map(SessionMemory, uid="asked")
    stream = stream.map(answer, uid="answer", concurrency=4).map(SessionMemory, uid="said")
    notes = {"collection": "notes", "what": "exchange"}
    stream.map(MemoryWrite, notes, uid="notes", parallelism=2).sink(id, uid="end")
    return env


def talked(home: Path) -> dict[str, Any]:
    """Turns of each session in the order of their text, and notes."""
    with MemoryService(data_dir=str(home / "memory"), embedding_model="hash") as service:
        names = service.list_sessions()
        windows = {name: service.history(name) for name in names}
        return {
            "turns": {name: sorted(t["text"] for t in w["turns"]) for name, w in windows.items()},
            "ids": {name: len({t["id"] for t in w["turns"]}) for name, w in windows.items()},
            "notes": sorted(row["text"] for row in service.scan("notes")),
        }


def expected(said: Sequence[str]) -> dict[str, Any]:
    turns: dict[str, list[str]] = {}
    for n, answer in enumerate(said):
        turns.setdefault(f"s{n % 3}", []).extend((f"what is {n}?", answer))
    return {
        "turns": {name: sorted(texts) for name, texts in turns.items()},
        "ids": {name: len(texts) for name, texts in turns.items()},
        "notes": sorted(f"what is {n}?\n{answer}" for n, answer in enumerate(said)),
    }


async def answered(query: Query) -> Answer:
    await asyncio.sleep(0)
    return Answer(text=f"it is {query.metadata['n']}", query=query)


ALL = [f"it is {n}" for n in range(60)]


def test_a_restart_in_the_process_takes_back_what_the_failed_attempt_wrote(tmp_path: Path) -> None:
    failed = threading.Event()

    async def sometimes(query: Query) -> Answer:
        if query.metadata["n"] == 40 and not failed.is_set():
            failed.set()
            raise ConnectionError("gone for a moment")
        return await answered(query)

    restart = {"strategy": "fixed_delay", "delay": 0}
    job = talking(tmp_path, sometimes, every=5, restart=restart).submit().wait(60)
    assert failed.is_set()
    assert job.restored_from is not None
    assert talked(tmp_path) == expected(ALL)


def test_a_savepoint_brings_the_memory_back_with_it(tmp_path: Path) -> None:
    reached, go_on = threading.Event(), asyncio.Event()

    async def held(query: Query) -> Answer:
        if query.metadata["n"] == 10:
            loops.append(asyncio.get_running_loop())
            reached.set()
            await go_on.wait()
        return await answered(query)

    async def other(query: Query) -> Answer:
        return Answer(text=f"it was {query.metadata['n']}", query=query)

    loops: list[asyncio.AbstractEventLoop] = []
    job = talking(tmp_path, held).submit()
    assert reached.wait(60)
    job.savepoint(tmp_path / "saved", timeout=60)
    back = talking(tmp_path, other, savepoint=tmp_path / "saved", roll_back=True)
    with pytest.raises(JobError, match="is being executed"):
        back.submit()
    loops[0].call_soon_threadsafe(go_on.set)
    job.wait(60)
    assert talked(tmp_path) == expected(ALL)
    again = back.submit().wait(60)
    assert again.id != job.id
    assert talked(tmp_path) == expected([*ALL[:10], *(f"it was {n}" for n in range(10, 60))])


def test_without_checkpoints_nothing_is_noted(tmp_path: Path) -> None:
    env = LocalEnvironment("plain")
    env.set_memory({"data_dir": str(tmp_path), "embedding_model": "hash"})
    env.from_collection(["a fact"]).map(MemoryWrite).sink(id)
    env.submit().wait(60)
    with MemoryService(data_dir=str(tmp_path)) as service:
        assert not service.has_collection(JOURNAL)


class Writer(MapFunction[Any, Any]):
    """Makes the call it gets."""

    def execute(self, item: dict[str, Any]) -> Any:
        memory = self.call_service["memory_service"]
        return getattr(memory, item["method"])(*item["args"])


def written(home: Path, *calls: tuple[Any, ...]) -> str:
    """The run that made these calls."""
    env = LocalEnvironment("writer").enable_checkpoints(interval=None, store=home / "runs")
    env.set_memory({"data_dir": str(home / "memory"), "embedding_model": "hash"})
    items = [{"method": method, "args": args} for method, *args in calls]
    env.from_collection(items).map(Writer).sink(id)
    return str(env.submit().wait(60).id)


def test_what_others_have_changed_since_stays(tmp_path: Path) -> None:
    with MemoryService(data_dir=str(tmp_path / "memory"), embedding_model="hash") as service:
        service.create_collection("keys", "KV")
        service.create_collection("rows")
        service.put("keys", "mine", "before")
        service.insert("rows", "one", {"v": 1}, "1")
        run = written(
            tmp_path,
            ("put", "keys", "mine", "after"),
            ("put", "keys", "theirs", 1),
            ("upsert", "rows", ["ONE", "two"], [{"v": 2}, {"v": 2}], ["1", "2"]),
        )
        service.put("keys", "theirs", 2)
        service.upsert("rows", "TWO", {"v": 3}, "2")
        assert service.roll_back(run, 0) == 3
        assert dict(service.scan("keys")) == {"mine": "before", "theirs": 2}
        rows = {row["id"]: (row["text"], row["metadata"]) for row in service.scan("rows")}
        assert rows == {"1": ("one", {"v": 1}), "2": ("TWO", {"v": 3})}
        assert service.roll_back(run, 0) == 0


def test_what_is_forgotten_is_in_no_entry_either(tmp_path: Path) -> None:
    with MemoryService(data_dir=str(tmp_path / "memory"), embedding_model="hash") as service:
        service.create_collection("rows")
        service.insert("rows", "Anna's number is 5550199", None, "1")
        service.add_turn("anna", "user", "I am Anna, 5550199")
        run = written(
            tmp_path,
            ("upsert", "rows", "somebody's number", None, "1"),
            ("clear_session", "anna"),
            ("put", "tiers", "other", 1),
        )
        service.forget("rows", ids=["1"])
        service.clear_session("anna")
        assert service.roll_back(run, 0) == 1
        service.collection(JOURNAL).store()
    for file in (tmp_path / "memory").rglob("*"):
        assert file.is_dir() or b"5550199" not in file.read_bytes(), file


def test_a_summary_goes_back_with_its_turns(tmp_path: Path) -> None:
    config = {
        "data_dir": str(tmp_path / "memory"),
        "embedding_model": "hash",
        "session": {"policy": "summarise", "max_tokens": 40},
    }
    with MemoryService(config) as service:
        for n in range(3):
            service.add_turn("s", "user", f"turn {n} of the session")
        before = service.history("s")
        env = LocalEnvironment("adds").enable_checkpoints(interval=None, store=tmp_path / "runs")
        env.set_memory(config)
        turns = [
            {"method": "add_turn", "args": ["s", "user", f"more {n} words"]} for n in range(30)
        ]
        env.from_collection(turns).map(Writer).sink(id)
        run = env.submit().wait(60).id
        assert service.history("s")["summary"] is not None
        service.roll_back(run, 0)
        assert service.history("s") == before
