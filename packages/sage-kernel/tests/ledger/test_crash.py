"""``kill -9`` while calls are under way, against a server that counts them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.ledger import report

HERE = Path(__file__).parent
WIDTH = 4


class Server:
    def __init__(self, log: Path) -> None:
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "counting_server.py"), str(log)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "calls.jsonl")
    yield made
    made.process.kill()
    made.process.wait()
    made.process.stdout.close()  # type: ignore[union-attr]


def start(store: Path, server: Server) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "crashing_job.py"), str(store), str(server.port)]
    return subprocess.Popen([*command, str(WIDTH)], stdout=subprocess.PIPE, text=True)


def run_until(process: subprocess.Popen[str], lines: int | None) -> None:
    """Kill the job once it has put out so many items; ``None``: let it end."""
    assert process.stdout is not None
    with process, process.stdout as out:
        for number, _ in enumerate(out, 1):
            if number == lines:
                process.kill()
                break
        code = process.wait()
    assert code == (0 if lines is None else -9)


def test_no_recorded_call_is_made_again(tmp_path: Path, server: Server) -> None:
    store = tmp_path / "store"
    for lines in (1, 9, 25):
        run_until(start(store, server), lines)
    run_until(start(store, server), None)
    asked = Counter(call["asked"] for call in server.calls)
    wanted = {n for item in range(60) for n in (item, item * 2 + 1_000_000)}
    assert set(asked) == wanted
    # Only a call that was in flight at one of the three kills may have been made again.
    assert sum(asked.values()) - len(wanted) <= 3 * WIDTH
    keys: dict[int, set[str]] = {}
    for call in server.calls:
        keys.setdefault(call["asked"], set()).add(call["key"])
    assert all(len(found) == 1 for found in keys.values()), "a repeated call has the same key"
    assert len({key for found in keys.values() for key in found}) == len(wanted)

    run = next(p.name for p in (store / "crashing").iterdir())
    cost = report.cost(store / "ledger.sqlite", run)
    assert cost.total.calls == len(wanted)
    assert cost.total.input_tokens == 7 * len(wanted)
    assert cost.total.cost == Decimal(0)
    assert cost.total.unpriced == len(wanted), "a model without a price has an unknown one"

    lines = (store / "out.jsonl").read_text()
    before = len(server.calls)
    replay = "from crashing_job import build; import sys; "
    replay += "from pathlib import Path; from sage.kernel.runtime.local.again import replay_run; "
    replay += "store, port, run, out = sys.argv[1:]; "
    replay += "replay_run(build(store, int(port), 4).stream_graph, Path(store), run, output=out)"
    replay += ".wait()"
    out = tmp_path / "again"
    subprocess.run(
        [sys.executable, "-c", replay, str(store), str(server.port), run, str(out)],
        cwd=HERE,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert (out / "out.jsonl").read_text() == lines
    assert len(server.calls) == before


def test_the_counter_counts(tmp_path: Path, server: Server) -> None:
    """Without the ledger everything is paid for again."""
    for number in range(2):
        store = tmp_path / str(number)
        run_until(start(store, server), 10 if number == 0 else None)
    assert len(server.calls) >= 120 + 2 * 10


@pytest.mark.parametrize("limit", [0, 20_000])
@pytest.mark.parametrize("what", ["call", "output"])
def test_a_full_disk_ends_the_job(tmp_path, what, limit):
    """It is told as a failure, not as success and not by a job that never ends."""
    program = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path / "store", what, str(limit)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    failure, status = done.stdout.splitlines()
    assert "cannot be written" in failure
    assert status == "FAILED False"
