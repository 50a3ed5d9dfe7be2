from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.ledger import writer
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


def hold(path: Path) -> sqlite3.Connection:
    """Keeps the writer from committing until it is rolled back."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_what_gathers_while_a_group_is_written_is_the_next_group(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")
    ledger.add_and_wait("calls", [(row("first"), ())])
    before = ledger.commits
    blocker = hold(path)
    threads = [
        threading.Thread(target=ledger.add_and_wait, args=("calls", [(row(str(n)), ())]))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    while ledger.waiting() + ledger.taken < 40:
        pass
    blocker.execute("ROLLBACK")
    for thread in threads:
        thread.join()
    assert sorted(records(ledger)) == sorted(["first", *map(str, range(40))])
    assert ledger.commits - before <= 5
    blocker.close()
    ledger.close()


def test_a_call_returns_only_once_its_row_is_on_disk(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")
    blocker = hold(path)
    done = threading.Event()

    def add() -> None:
        ledger.add_and_wait("calls", [(row("a"), ())])
        done.set()

    thread = threading.Thread(target=add)
    thread.start()
    while ledger.taken + ledger.waiting() == 0:
        pass
    assert not done.is_set()
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM calls").fetchone() == (0,)
    blocker.execute("ROLLBACK")
    thread.join()
    assert other.execute("SELECT record FROM calls").fetchall() == [("a",)]
    other.close()
    blocker.close()
    ledger.close()


def test_futures_of_a_loop_are_woken_together(path: Path) -> None:
    ledger = Ledger.open(path, durability="process")

    async def main() -> int:
        await commit_async(ledger, "calls", [(row("first"), ())])
        before = ledger.commits
        blocker = hold(path)
        waits = [
            asyncio.ensure_future(commit_async(ledger, "calls", [(row(str(n)), ())]))
            for n in range(30)
        ]
        while ledger.waiting() + ledger.taken < 30:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        blocker.execute("ROLLBACK")
        blocker.close()
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
    assert path.with_name("ledger.payloads").read_bytes() == data
    assert ledger.query("SELECT count(*) FROM payloads") == [(1,)]
    with pytest.raises(LedgerError, match="is missing"):
        ledger.payload(b"0" * 16)
    ledger.close()


def blob(n: int) -> tuple[bytes, bytes]:
    data = b"v" + str(n).encode() * 300
    return digest_of(data), data


def indexed(ledger: Ledger) -> int:
    count: int = ledger.query("SELECT count(*) FROM payloads")[0][0]
    return count


def test_places_of_payloads_are_found_before_they_are_indexed(path: Path) -> None:
    """By the ledger that wrote them, by that of another process, and after a crash."""
    ledger = Ledger(path)
    blobs = [blob(n) for n in range(9)]
    for n in range(0, 9, 3):
        ledger.add_and_wait("calls", [(row("a"), blobs[n : n + 2]), (row("b"), [blobs[n + 2]])])
    assert indexed(ledger) == 3, "the first transaction of a writer puts in what is noted"
    size = path.with_name("ledger.payloads").stat().st_size

    other = Ledger(path)  # the first one is never closed, as in a process that was killed
    for reader in (ledger, other):
        assert [reader.payload(digest) for digest, _ in blobs] == [data for _, data in blobs]
    other.add_and_wait("calls", [(row("c"), ())])
    assert indexed(other) == 9
    other.add_and_wait("calls", [(row("d"), blobs)])
    assert path.with_name("ledger.payloads").stat().st_size == size
    other.close()
    ledger.close()


def test_places_are_indexed_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "INDEX", 5)
    first, second = Ledger(path), Ledger(path)
    for ledger in (first, second):
        ledger.add_and_wait("calls", [(row("begin"), ())])
    seen = []
    for n in range(9):
        ledger = (first, second)[n % 2]
        ledger.add_and_wait("calls", [(row(str(n)), [blob(n)])])
        seen.append(indexed(ledger))
    assert seen == [0] * 9, "each of them knows of five"
    first.add_and_wait("calls", [(row("10"), [blob(10)])])
    assert indexed(first) == 10, "with those of the other"
    second.add_and_wait("calls", [(row("11"), [blob(11)])])
    second.finish()
    assert indexed(second) == 11
    assert all(first.payload(blob(n)[0]) == blob(n)[1] for n in range(9))
    second.close()
    first.close()


def test_payloads_of_outputs_alone(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.add("outputs", [((1, "a", 0, "ok", 0.0, b"x"), [blob(1)])])
    ledger.drain()
    assert ledger.payload(blob(1)[0]) == blob(1)[1]
    ledger.close()


def test_what_became_of_items_is_put_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LAZY", 3600.0)
    ledger = Ledger.open(path)

    def note(n: int) -> None:
        ledger.add("outputs", [((1, str(n), 0, "ok", 0.0, None), ())])

    def noted() -> int:
        ledger.add_and_wait("calls", [(row("a call"), ())])
        return ledger.query("SELECT count(*) FROM outputs")[0][0]

    note(0)
    assert noted() == 0
    ledger.drain()
    assert noted() == 1
    for n in range(1, writer.PUT_OFF):
        note(n)
    assert noted() == 1
    note(writer.PUT_OFF)
    assert noted() == 1 + writer.PUT_OFF
    note(0)
    note(-1)
    ledger.close()
    again = Ledger.open(path)
    assert again.query("SELECT count(*) FROM outputs") == [(2 + writer.PUT_OFF,)]
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
    ledger._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="cannot be written"):
        ledger.add_and_wait("calls", [(row("b"), ())])
    with pytest.raises(LedgerError, match="takes no more calls"):
        ledger.add("calls", [(row("c"), ())])
    ledger.close()
