"""Runs that are removed leave nothing behind, and take nothing with them that others need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import NotFoundError
from sage.kernel.ledger import report
from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.forgetting import compact, forget
from sage.kernel.ledger.run import RunLedger
from sage.kernel.ledger.store import Ledger

Open = Callable[..., RunLedger]

SHARED = "Both runs say this. " * 40
LIST = [f"{n} is said in a long list. " * 20 for n in range(40)]


def ask(text: str) -> Any:
    return [text.upper(), *LIST]


def recorded(open_: Open, make_step: Any, run: str, *texts: str, **options: Any) -> None:
    ledger = open_(run, **options)
    step = make_step(ledger)
    for number, text in enumerate(texts):
        step.record = f"source:{number}"
        step.ctx.call(ask, text)
    ledger.close()


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.fixture
def two_runs(open_: Open, make_step: Any, path: Path) -> Path:
    secret = "This is a secret of the first run. " * 2000
    recorded(open_, make_step, "first", SHARED, secret)
    recorded(open_, make_step, "second", SHARED, "another question " * 50)
    assert b"secret of the first run" in everything(path.parent)
    return path


def test_a_run_goes_and_what_others_need_stays(two_runs: Path, open_: Open, make_step: Any) -> None:
    path = two_runs
    assert forget(path, ["first", "unknown"]) == ["first"]
    with pytest.raises(NotFoundError, match="'first'"):
        report.cost(path, "first")
    with pytest.raises(LedgerError, match="'first'"):
        open_("first", mode="replay")
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    freed = compact(path)
    assert freed > 100_000
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= size - freed
    assert b"secret of the first run" not in everything(path.parent)
    assert [file.name for file in sorted(path.parent.glob("*.journal"))] == ["ledger.1.journal"]
    assert report.cost(path, "second").total.calls == 2
    ledger = open_("second", mode="replay")
    step = make_step(ledger)
    assert step.ctx.call(ask, SHARED) == ask(SHARED)
    ledger.close()


def test_the_ledger_goes_on_afterwards(two_runs: Path, open_: Open, make_step: Any) -> None:
    for generation in (1, 2):
        recorded(open_, make_step, f"third-{generation}", SHARED, "new " * 5000 * generation)
        forget(two_runs, ["first", f"third-{generation}"])
        assert compact(two_runs) > 0
        assert two_runs.with_name(f"ledger.{generation}.journal").exists()
    recorded(open_, make_step, "last", SHARED, "new " * 5000)
    assert report.cost(two_runs, "last").total.calls == 2
    assert report.cost(two_runs, "second").total.calls == 2


def test_little_waste_is_left(two_runs: Path) -> None:
    before = everything(two_runs.parent)
    assert compact(two_runs) == 0
    assert forget(two_runs, ["second"]) == ["second"]
    assert compact(two_runs) == 0, "most of it is the secret of the first"
    assert compact(two_runs, waste=0.0) > 0
    assert len(everything(two_runs.parent)) < len(before)


def test_while_somebody_has_it_open_only_the_rows_go(
    two_runs: Path, open_: Open, make_step: Any
) -> None:
    other = Ledger(two_runs)
    assert forget(two_runs, ["first"]) == ["first"]
    assert compact(two_runs) == 0
    recorded(open_, make_step, "third", SHARED)
    other.close()
    assert compact(two_runs) > 0
    assert report.cost(two_runs, "third").total.calls == 1


def test_a_run_with_forks_goes_with_the_last_of_them(
    two_runs: Path, open_: Open, make_step: Any
) -> None:
    for child, parent in (("fork", "first"), ("fork of fork", "fork")):
        open_(child, mode="fork", parent=parent).close()
    assert forget(two_runs, ["first"]) == []
    assert report.cost(two_runs, "first").total.calls == 2
    assert forget(two_runs, ["fork"]) == []
    assert forget(two_runs, ["fork of fork"]) == ["first", "fork", "fork of fork"]
    assert forget(two_runs, ["first"]) == []


def test_what_an_interrupted_attempt_left_does_no_harm(two_runs: Path) -> None:
    two_runs.with_name("ledger.1.journal").write_bytes(b"half " * 1000)
    others = two_runs.with_name("ledger2.journal")
    others.write_bytes(b"of another ledger")
    assert report.cost(two_runs, "first").total.calls == 2
    forget(two_runs, ["first"])
    assert compact(two_runs) > 0
    assert report.cost(two_runs, "second").total.calls == 2
    assert others.exists()


def test_a_ledger_that_is_not_there(path: Path) -> None:
    assert forget(path, ["run"]) == []
    assert compact(path) == 0
    assert not path.exists()


WRITER = """
import sys
from pathlib import Path
from sage.kernel.ledger.payloads import digest_of
from sage.kernel.ledger.schema import INSERTS
from sage.kernel.ledger.store import Ledger

path, steps = Path(sys.argv[1]), int(sys.argv[2])
for number in range(steps):
    values = dict.fromkeys(INSERTS["calls"])
    data = b"\\0" + f"text {number} ".encode() * 100
    values.update(step=1, record=f"kept:{number}", request=b"r", ordinal=0, kind="call",
        started=0.0, latency=0.0, retries=0, flags=0, output=b"\\2" + digest_of(b"v" + data))
    row = tuple(values[name] for name in INSERTS["calls"])
    ledger = Ledger(path, durability="process")
    ledger.add_and_wait("calls", [(row, [(digest_of(b"v" + data), b"v" + data)])])
    ledger.close()
"""


def test_a_process_that_opens_it_again_and_again_loses_nothing(path: Path) -> None:
    """While another one writes the journal anew as often as it can."""
    steps = 60
    command = [sys.executable, "-c", WRITER.replace("\\\\", "\\"), str(path), str(steps)]
    rewritten = 0
    with subprocess.Popen(command) as writer:
        while writer.poll() is None:
            rewritten += compact(path, waste=-1.0) != 0
    assert writer.returncode == 0
    assert rewritten > 0
    ledger = Ledger(path)
    found = ledger.query("SELECT record, output FROM calls ORDER BY id")
    assert [row[0] for row in found] == [f"kept:{number}" for number in range(steps)]
    for number, (_, output) in enumerate(found):
        assert f"text {number} ".encode() in ledger.payload(output[1:])
    ledger.close()
