from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.ledger import store
from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.payloads import digest_of
from sage.kernel.ledger.schema import FORMAT, INSERTS
from sage.kernel.ledger.store import Ledger
from sage.kernel.ledger.writer import commit_async


def row(record: str, **more: Any) -> tuple[Any, ...]:
    values: dict[str, Any] = dict.fromkeys(INSERTS["calls"])
    values.update(
        step=1, record=record, request=b"r", ordinal=0, kind="call", started=0.0, latency=0.0
    )
    values.update(retries=0, flags=0, **more)
    return tuple(values[name] for name in INSERTS["calls"])


def records(ledger: Ledger) -> list[str]:
    return [r[0] for r in ledger.query("SELECT record FROM calls ORDER BY id")]


@contextmanager
def held(ledger: Ledger) -> Iterator[None]:
    """Keeps groups from being committed."""
    ledger._committing.acquire()
    try:
        yield
    finally:
        ledger._committing.release()


def test_what_gathers_while_a_group_is_written_is_the_next_group(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")
    ledger.add_and_wait("calls", [(row("first"), ())])
    before = ledger.commits
    threads = [
        threading.Thread(target=ledger.add_and_wait, args=("calls", [(row(str(n)), ())]))
        for n in range(40)
    ]
    with held(ledger):
        for thread in threads:
            thread.start()
        while ledger.waiting() + ledger.taken < 40:
            pass
    for thread in threads:
        thread.join()
    assert sorted(records(ledger)) == sorted(["first", *map(str, range(40))])
    assert ledger.commits - before <= 5
    ledger.close()


def test_a_call_returns_only_once_its_row_is_in_the_journal(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")
    done = threading.Event()

    def add() -> None:
        ledger.add_and_wait("calls", [(row("a"), ())])
        done.set()

    thread = threading.Thread(target=add)
    with held(ledger):
        thread.start()
        while ledger.taken + ledger.waiting() == 0:
            pass
        assert not done.is_set()
        other = Ledger(path)  # as another process
        assert records(other) == []
    thread.join()
    assert records(other) == ["a"]
    other.close()
    ledger.close()


def test_futures_of_a_loop_are_woken_together(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")

    async def main() -> int:
        await commit_async(ledger, "calls", [(row("first"), ())])
        before = ledger.commits
        with held(ledger):
            waits = [
                asyncio.ensure_future(commit_async(ledger, "calls", [(row(str(n)), ())]))
                for n in range(30)
            ]
            while ledger.waiting() + ledger.taken < 30:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0)
        await asyncio.gather(*waits)
        return ledger.commits - before

    assert asyncio.run(main()) <= 3
    assert len(records(ledger)) == 31
    ledger.close()


def test_payloads_are_there_before_what_names_them_and_only_once(path: Path) -> None:
    ledger = Ledger.open(path)
    data = b"v" + b"x" * 1000
    digest = digest_of(data)
    for n in range(3):
        ledger.add_and_wait("calls", [(row(str(n)), [(digest, data)])])
    assert ledger.payload(digest) == data
    assert path.with_name("ledger.journal").read_bytes().count(data) == 1
    assert ledger.query("SELECT count(*) FROM payloads") == [(1,)]
    with pytest.raises(LedgerError, match="is missing"):
        ledger.payload(b"0" * 16)
    ledger.close()


def blob(n: int) -> tuple[bytes, bytes]:
    data = b"v" + str(n).encode() * 300
    return digest_of(data), data


def tables(path: Path) -> list[str]:
    """Records of the calls that are in the tables already."""
    connection = sqlite3.connect(path)
    try:
        return [r[0] for r in connection.execute("SELECT record FROM calls ORDER BY id")]
    finally:
        connection.close()


def test_the_tables_follow_when_somebody_asks_or_much_has_gathered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BEHIND", 5)
    ledger = Ledger(path)
    for n in range(4):
        ledger.add_and_wait("calls", [(row(str(n)), ())])
    assert tables(path) == []
    ledger.add_and_wait("calls", [(row("4"), ())])
    assert tables(path) == ["0", "1", "2", "3", "4"]
    ledger.add_and_wait("calls", [(row("5"), ())])
    assert tables(path) == ["0", "1", "2", "3", "4"]
    assert records(ledger)[-1] == "5"
    assert tables(path)[-1] == "5"
    ledger.add_and_wait("calls", [(row("6"), ())])
    ledger.close()
    assert tables(path)[-1] == "6"


def test_several_processes_write_and_read(path: Path) -> None:
    """Each reads what the others have committed; rows and payloads are there once."""
    ledgers = [Ledger(path) for _ in range(3)]
    blobs = [blob(n) for n in range(30)]
    for n in range(30):
        ledgers[n % 3].add_and_wait("calls", [(row(str(n)), [blobs[n]])])
        if n % 4 == 0:
            assert records(ledgers[n // 4 % 3]) == [str(m) for m in range(n + 1)]
    for ledger in ledgers:
        assert records(ledger) == [str(n) for n in range(30)]
        assert [ledger.payload(digest) for digest, _ in blobs] == [data for _, data in blobs]
    size = path.with_name("ledger.journal").stat().st_size
    later = Ledger(path)  # the others were never closed, as in processes that were killed
    later.add_and_wait("calls", [(row("again"), blobs)])
    assert path.with_name("ledger.journal").stat().st_size < size + 2000, "no payload twice"
    for ledger in (*ledgers, later):
        ledger.close()


@pytest.mark.parametrize("kept", [1, 20, 60, -300, -1])
def test_what_a_process_left_unfinished_is_skipped(path: Path, kept: int) -> None:
    """A loss of power, or a full disk, can leave a part of a frame."""
    ledger = Ledger(path)
    journal = path.with_name("ledger.journal")
    ledger.add_and_wait("calls", [(row("whole"), [blob(1)])])
    ledger.add_and_wait("calls", [(row("broken"), [blob(2)])])
    start = next(iter(ledger._journal.frames(0))).end
    broken = journal.read_bytes()[start:][:kept]
    with journal.open("r+b") as file:
        file.truncate(start)
        file.seek(start)
        file.write(broken)
    assert records(ledger) == ["whole"]
    later = Ledger(path)
    later.add_and_wait("calls", [(row("later"), [blob(3)])])
    for each in (later, ledger):
        assert records(each) == ["whole", "later"]
        assert each.payload(blob(3)[0]) == blob(3)[1]
    later.close()
    ledger.close()


def test_a_journal_that_lost_its_end(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(path)
    for n in range(3):
        ledger.add_and_wait("calls", [(row(str(n)), [blob(n)])])
    ledger.close()
    journal = path.with_name("ledger.journal")
    os.truncate(journal, journal.stat().st_size // 2)
    later = Ledger(path)
    assert "has become shorter" in caplog.text
    with pytest.raises(LedgerError, match="is damaged"):
        later.payload(blob(2)[0])
    later.add_and_wait("calls", [(row("3"), [blob(2), blob(3)])])
    assert records(later) == ["0", "1", "2", "3"], "what was asked and answered is known still"
    assert later.payload(blob(2)[0]) == blob(2)[1]
    assert later.payload(blob(3)[0]) == blob(3)[1]
    later.close()


def test_processes_that_make_a_ledger_at_once(path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sage.kernel.ledger.store import Ledger\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        f"row = {row('a')!r}\n"
        "ledger = Ledger(Path(sys.argv[1]), durability='process')\n"
        "ledger.add_and_wait('calls', [(row, ())])\n"
        "ledger.close()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    made = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    for process in made:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in made:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in made:
        process.communicate()
        assert process.returncode == 0
    ledger = Ledger(path)
    assert records(ledger) == ["a"] * 6
    ledger.close()


def test_the_death_of_a_process_loses_nothing(path: Path) -> None:
    """Killed when a call is committed and the tables do not know of it."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from sage.kernel.ledger.store import Ledger\n"
        f"row = {row('killed')!r}\n"
        "ledger = Ledger(Path(sys.argv[1]), durability='process')\n"
        "ledger.add_and_wait('calls', [(row, ())])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert tables(path) == []
    ledger = Ledger(path)
    assert records(ledger) == ["killed"]
    ledger.close()


def test_payloads_of_outputs_alone(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.add("outputs", [((1, "a", 0, "ok", 0.0, b"x"), [blob(1)])])
    ledger.drain()
    assert ledger.payload(blob(1)[0]) == blob(1)[1]
    ledger.close()


def test_what_nobody_waits_for_rides_along_or_follows(path: Path) -> None:
    ledger = Ledger.open(path)

    def outputs() -> list[str]:
        return [r[0] for r in ledger.query("SELECT record FROM outputs ORDER BY record")]

    ledger.add("outputs", [((1, "a", 0, "ok", 0.0, None), ())])
    ledger.add_and_wait("calls", [(row("a call"), ())])
    assert outputs() == ["a"]
    ledger.add("outputs", [((1, "b", 0, "ok", 0.0, None), ())])
    while outputs() != ["a", "b"]:
        pass
    ledger.add("outputs", [((1, "c", 0, "ok", 0.0, None), ())])
    ledger.close()
    again = Ledger.open(path)
    assert again.query("SELECT count(*) FROM outputs") == [(3,)]
    again.close()


def test_one_ledger_per_process_and_file(path: Path) -> None:
    first, second = Ledger.open(path), Ledger.open(path)
    assert first is second
    first.close()
    second.add_and_wait("calls", [(row("a"), ())])
    second.close()
    with pytest.raises(LedgerError, match="has been closed"):
        second.add("calls", [(row("b"), ())])
    third = Ledger.open(path)
    assert third is not first
    assert records(third) == ["a"]
    third.close()


def test_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    Ledger.open(path).close()
    later = sqlite3.connect(path)
    later.execute(f"PRAGMA user_version = {FORMAT + 1}")
    later.close()
    with pytest.raises(LedgerError, match=f"format {FORMAT + 1}"):
        Ledger.open(path)
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(text)


def test_a_failed_write_fails_every_caller(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.add_and_wait("calls", [(row("a"), ())])
    size = path.with_name("ledger.journal").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))  # as a full disk
    try:
        with pytest.raises(LedgerError, match="cannot be written"):
            ledger.add_and_wait("calls", [(row("b"), ())])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(LedgerError, match="takes no more calls"):
        ledger.add("calls", [(row("c"), ())])
    ledger.close()


def test_a_failed_write_that_nobody_waits_for_fails_the_next_to_ask(path: Path) -> None:
    ledger = Ledger.open(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        ledger.add("outputs", [((1, "a", 0, "ok", 0.0, None), ())])
        while ledger.waiting() or ledger.taken:
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(LedgerError, match="cannot be written"):
        ledger.drain()
    ledger.close()


@pytest.mark.parametrize("missing", range(1, 30))
def test_a_frame_that_lacks_its_end_hides_no_other(path: Path, missing: int) -> None:
    """Not even when what comes next looks like the end it lacks."""
    ledger, other = Ledger(path), Ledger(path)
    journal = path.with_name("ledger.journal")
    ledger.add_and_wait("calls", [(row("torn"), [blob(1)])])
    os.truncate(journal, journal.stat().st_size - missing)
    other.add_and_wait("calls", [(row("next"), [blob(2)])])
    assert records(ledger) == ["next"]
    other.close()
    ledger.close()


def test_payloads_of_a_journal_that_was_replaced_are_written_again(path: Path) -> None:
    """The tables say that they are there."""
    first = Ledger(path)
    first.add_and_wait("calls", [(row("a"), [blob(1), blob(2)])])
    first.close()
    path.with_name("ledger.journal").write_bytes(b"another one's" * 1000)
    later = Ledger(path)
    later.add_and_wait("calls", [(row("b"), [blob(1)])])
    assert later.payload(blob(1)[0]) == blob(1)[1]
    with pytest.raises(LedgerError, match="is damaged"):
        later.payload(blob(2)[0])
    assert records(later) == ["a", "b"]
    later.close()


def test_a_loop_that_stops_before_it_kicks_stops_no_other(path: Path) -> None:
    ledger = Ledger(path)
    loop = asyncio.new_event_loop()

    async def left() -> None:
        waiting = asyncio.ensure_future(commit_async(ledger, "calls", [(row("left"), ())]))
        await asyncio.sleep(0)
        waiting.cancel()
        loop.stop()

    task = loop.create_task(left())
    loop.run_forever()
    assert task.done()

    async def later() -> None:
        await asyncio.wait_for(commit_async(ledger, "calls", [(row("later"), ())]), 60)

    asyncio.run(later())
    assert records(ledger) == ["left", "later"]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    ledger.close()


@pytest.mark.parametrize(
    "bad", [{"input_tokens": 2**63}, {"input_tokens": [1]}, {"error": "\udcff"}, {"retries": 1j}]
)
def test_a_row_that_cannot_be_kept_fails_its_own_caller_only(path: Path, bad: Any) -> None:
    ledger = Ledger(path)
    values = dict(zip(INSERTS["calls"], row("bad"), strict=True)) | bad
    with pytest.raises(LedgerError, match="cannot keep"):
        ledger.add_and_wait("calls", [(tuple(values.values()), ())])
    ledger.add_and_wait("calls", [(row("good"), ())])
    assert records(ledger) == ["good"]
    ledger.close()


def test_names_and_numbers_of_other_classes_are_kept(path: Path) -> None:
    class Model(StrEnum):
        SMALL = "small"

    class Count(int):
        pass

    ledger = Ledger(path)
    ledger.add_and_wait("calls", [(row("a", model=Model.SMALL, input_tokens=Count(7)), ())])
    assert ledger.query("SELECT model, input_tokens FROM calls") == [("small", 7)]
    ledger.close()
