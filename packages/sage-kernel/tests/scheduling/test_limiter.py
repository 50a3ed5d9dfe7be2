from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel.scheduling.bucket import Bucket
from sage.kernel.scheduling.cells import FileCell, MemoryCell
from sage.kernel.scheduling.limiter import Limiter
from sage.kernel.scheduling.limits import Limit, find_limit, read_limits
from sage.kernel.scheduling.owner import OWNER, Owner
from sage.kernel.scheduling.registry import LimiterRegistry


class Clock:
    """Time that a test moves on; waits of the limiter still are real."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "file"])
def limiter(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Limiter:
    cell: Any = MemoryCell() if request.param == "memory" else FileCell(tmp_path / "x", "a/b")
    cell.clock = clock
    return Limiter(cell, "a", "b", "key")


def until(condition: Callable[[], object]) -> None:
    """Let other threads run until the condition holds; the test's timeout bounds it."""
    while not condition():
        time.sleep(0.001)


def test_calls_start_in_the_order_of_their_reservations(limiter: Limiter, clock: Clock) -> None:
    limiter.configure(Limit(rpm=60))
    order: list[int] = []

    def call(number: int, permit: Any) -> None:
        permit.wait()
        order.append(number)

    threads = [
        threading.Thread(target=call, args=(n, limiter.reserve(1000 if n == 3 else 1)))
        for n in range(8)
    ]
    for thread in reversed(threads):
        thread.start()
    while any(thread.is_alive() for thread in threads):
        clock.now += 1
        if limiter._queue:
            limiter._queue[0].wake()
        time.sleep(0.001)
    assert order[2:] == [2, 3, 4, 5, 6, 7]
    assert sorted(order[:2]) == [0, 1]
    assert limiter.snapshot()["wait_seconds"] >= 1 + 2 + 3 + 4 + 5 + 6


def test_a_coroutine_waits_as_a_thread_does(limiter: Limiter, clock: Clock) -> None:
    limiter.configure(Limit(tpm=6000))

    async def run() -> list[int]:
        order: list[int] = []

        async def call(number: int) -> None:
            permit = limiter.reserve(200)
            await permit
            order.append(number)
            permit.settle(0, 0)  # nothing was used: the next may go at once

        await asyncio.gather(*map(call, range(5)))
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]
    assert limiter.snapshot()["calls"] == 5
    assert limiter.snapshot()["waiting"] == 0


def test_a_canceled_coroutine_leaves_its_place(limiter: Limiter) -> None:
    limiter.configure(Limit(rpm=1))

    async def run() -> None:
        await limiter.reserve(1)
        waiting = asyncio.ensure_future(_wait(limiter.reserve(1)))
        behind = limiter.reserve(1)
        await asyncio.sleep(0)
        assert limiter._queue[0]._waker is not None
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert list(limiter._queue) == [behind]

    asyncio.run(run())
    with limiter._cell.open() as bucket:
        assert bucket.requests.reserved - bucket.requests.granted == pytest.approx(1)


async def _wait(permit: Any) -> None:
    await permit


class Stopped(BaseException):
    """What a canceled owner's waits raise."""


def test_a_canceled_job_ends_the_waits_of_its_threads_only(limiter: Limiter) -> None:
    limiter.configure(Limit(rpm=1))
    limiter.reserve(1).wait()
    ended: list[str] = []
    owners = {"mine": Owner(Stopped), "other": Owner(Stopped)}

    def call(name: str) -> None:
        OWNER.set(owners[name])
        try:
            limiter.reserve(1).wait()
        except Stopped:
            ended.append(name)

    threads = {name: threading.Thread(target=call, args=(name,), daemon=True) for name in owners}
    for thread in threads.values():
        thread.start()
    until(lambda: sum(permit._waker is not None for permit in list(limiter._queue)) == 2)
    owners["mine"].cancel()
    threads["mine"].join()
    assert ended == ["mine"]
    assert threads["other"].is_alive()
    owners["other"].cancel()
    threads["other"].join()
    copy_context().run(call, "mine")  # after the cancel: not even begun
    assert ended == ["mine", "other", "mine"]
    assert not limiter._queue


def test_settling_wakes_who_waits_for_tokens(limiter: Limiter) -> None:
    limiter.configure(Limit(tpm=60))
    first = limiter.reserve(1000)
    first.wait()
    second = limiter.reserve(1)
    thread = threading.Thread(target=second.wait)
    thread.start()
    until(lambda: second._waker is not None)
    first.settle(1, 0)
    thread.join()
    assert limiter.snapshot()["tokens"] == 1


def test_threads_and_coroutines_that_settle_fail_and_leave_all_end(tmp_path: Path) -> None:
    for registry in (LimiterRegistry(), LimiterRegistry(tmp_path)):
        limiter = registry.limiter("a", "b", limit=Limit(60_000, 6e6))

        def block(seed: int, limiter: Limiter = limiter) -> None:
            chance = random.Random(seed)
            for _ in range(60):
                permit = limiter.reserve(chance.randint(1, 200), 20)
                permit.wait()
                end = chance.random()
                if end < 0.1:
                    permit.failed(spent=end < 0.05)
                elif end < 0.12:
                    permit.refused(0.01)
                else:
                    permit.settle(chance.randint(1, 100), 5)

        async def one(chance: random.Random, limiter: Limiter = limiter) -> None:
            permit = limiter.reserve(chance.randint(1, 200), 20)
            try:
                await asyncio.wait_for(_wait(permit), chance.choice([None, 0.001]))
            except TimeoutError:
                return
            permit.settle(50, None)

        async def many(seed: int) -> None:
            chance = random.Random(seed)
            await asyncio.gather(*(one(chance) for _ in range(60)))

        threads = [threading.Thread(target=block, args=(seed,)) for seed in range(4)]
        threads += [threading.Thread(target=lambda: asyncio.run(many(7))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert limiter.snapshot()["waiting"] == 0
        assert limiter.snapshot()["calls"] >= 4 * 60


def test_a_refusal_blocks_everybody(limiter: Limiter, clock: Clock) -> None:
    permit = limiter.reserve(1)
    permit.wait()
    permit.refused(5.0)
    behind = limiter.reserve(1)
    assert behind._ready() == pytest.approx(0.5 if limiter._cell.shared else 5)
    clock.now += 5
    assert behind._ready() == 0
    shown = limiter.snapshot()
    assert (shown["throttled"], shown["calls"], shown["blocked_seconds"]) == (1, 2, 0)


def test_a_failed_call_gives_its_tokens_back_if_nothing_was_done(limiter: Limiter) -> None:
    limiter.configure(Limit(tpm=6000))
    for spent, left in ((False, 200), (True, 100)):
        permit = limiter.reserve(100)
        permit.wait()
        permit.failed(spent=spent)
        permit.failed(spent=spent)  # only once
        with limiter._cell.open() as bucket:
            assert bucket.tokens.granted - bucket.tokens.reserved == left


# ------------------------------------------------------------------ the registry and its files


def test_limiters_are_one_per_provider_model_and_key(tmp_path: Path) -> None:
    for registry in (LimiterRegistry(), LimiterRegistry(tmp_path)):
        same = registry.limiter("openai", "gpt", "sk-secret")
        assert registry.limiter("openai", "gpt", "sk-secret") is same
        others = {registry.limiter("openai", "gpt", "sk-other")}
        others |= {registry.limiter("openai", "gpt-4", "sk-secret")}
        others |= {registry.limiter("jina", "gpt", "sk-secret")}
        assert len(others | {same}) == 4
        assert set(registry.snapshot()) >= {"openai/gpt", "openai/gpt-4", "jina/gpt"}
        assert len(registry.snapshot()) == 4


def test_no_file_and_no_name_has_the_key(tmp_path: Path) -> None:
    registry = LimiterRegistry(tmp_path)
    registry.limiter("openai", "gpt", "sk-secret").reserve(10).wait()
    files = list(tmp_path.iterdir())
    assert {file.suffix for file in files} == {".limit", ""}
    for file in files:
        assert b"sk-secret" not in file.read_bytes()
        assert "sk-secret" not in file.name
        assert file.stat().st_mode & 0o077 == 0
    assert "sk-secret" not in repr(vars(registry)) + repr(registry.snapshot())
    import hashlib

    plain = hashlib.sha256(b"openai\0gpt\0sk-secret").hexdigest()[:32]
    assert not any(plain in file.name for file in files)  # keyed: not to be found by guessing


def test_settings_reach_limiters_that_are_in_use(tmp_path: Path) -> None:
    registry = LimiterRegistry()
    registry.configure(read_limits({"default": {"rpm": 5}}))
    far, near = registry.limiter("openai", "gpt"), registry.limiter("::1", "gpt", local=True)
    assert far.snapshot()["rpm"] == 5
    assert near.snapshot()["rpm"] is None
    registry.configure(read_limits({"openai": {"rpm": 7}, "::1/gpt": {"tpm": 9}}))
    assert far.snapshot()["rpm"] == 7
    assert (near.snapshot()["rpm"], near.snapshot()["tpm"]) == (None, 9)
    assert near.snapshot()["tpm_from"] == "configured"


def test_the_most_exact_entry_wins() -> None:
    limits = read_limits({"a/b": {"rpm": 1}, "a": {"rpm": 2}, "default": {"rpm": 3}})
    found = [find_limit(limits, *who, local=False) for who in (("a", "b"), ("a", "c"), ("d", "b"))]
    assert [limit.rpm for limit in found if limit] == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "limits must map"),
        ({"a": 7}, r"limits\.a: expected a mapping"),
        ({"a": {"rpn": 7}}, r"limits\.a: unknown key 'rpn'"),
        ({"a": {"rpm": 0}}, r"limits\.a\.rpm: must be a number above 0, got 0"),
        ({"a": {"tpm": True}}, r"limits\.a\.tpm: must be a number above 0, got True"),
    ],
)
def test_wrong_settings_are_named(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_limits(given)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        LimiterRegistry(tmp_path / "file")
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "salt").write_text("short")
    with pytest.raises(ConfigError, match="must have 32 bytes"):
        LimiterRegistry(tmp_path / "limits")


def test_only_calls_write_the_file(tmp_path: Path) -> None:
    limiter = LimiterRegistry(tmp_path).limiter("a", "b", "key", limit=Limit(rpm=60))
    (path,) = tmp_path.glob("*.limit")
    os.utime(path, (0, 0))
    assert limiter.expect(100, 50) == (100, 50)
    assert limiter.snapshot()["calls"] == 0
    assert path.stat().st_mtime == 0
    permit = limiter.reserve(100, 50)
    permit.wait()
    permit.settle(400, 50)
    assert limiter.snapshot()["calls"] == 1
    assert limiter.expect(100, 50) == (130, 50)
    assert path.stat().st_mtime > 0


def test_another_content_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"short", os.urandom(1000)):
        path.write_bytes(content)
        with FileCell(path, "a/b").open() as bucket:
            assert bucket.calls == 0
            bucket.calls = 3
        with FileCell(path, "a/b").open() as bucket:
            assert bucket.calls == 3


HOLDER = """
import sys
from contextvars import copy_context
from pathlib import Path
from sage.kernel.scheduling.cells import FileCell
cell = FileCell(Path(sys.argv[1]), "a/b")
if sys.argv[2] == "hold":
    with cell.open() as bucket:
        bucket.calls = 1e9
        print("holds", flush=True)
        sys.stdin.read()
while True:
    with cell.open() as bucket:
        bucket.calls += 1
        bucket.requests.reserved = bucket.tokens.reserved = bucket.calls
    if bucket.calls == 1:
        print("runs", flush=True)
"""


def holder(path: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_holder_leaves_the_bucket_as_it_was_and_free(tmp_path: Path) -> None:
    path = tmp_path / "x"
    cell = FileCell(path, "a/b")
    with cell.open() as bucket:
        bucket.calls = 7
    with holder(path, "hold") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        process.send_signal(signal.SIGKILL)
        with cell.open() as bucket:
            assert bucket.calls == 7


def test_the_bucket_is_whole_whenever_its_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    cell = FileCell(path, "a/b")
    seen = 0.0
    for round_ in range(10):
        with holder(path, "run") as process:
            goal = seen + 50 * (round_ + 1)
            while True:
                with cell.open() as bucket:
                    assert bucket.tokens.reserved == bucket.calls == bucket.requests.reserved
                    assert bucket.calls >= seen
                    seen = bucket.calls
                if seen >= goal:
                    break
            process.send_signal(signal.SIGKILL)
    data = path.read_bytes()
    assert len(data) == 8 + 128 + 4 + Bucket.SIZE
    assert data[8:136].rstrip(b"\0") == b"a/b"


def test_processes_share_one_order(tmp_path: Path) -> None:
    """What one process reserved, the other waits for; what the dead reserved is spent."""
    program = """
import sys
from contextvars import copy_context
from pathlib import Path
from sage.kernel.scheduling.registry import LimiterRegistry
limiter = LimiterRegistry(Path(sys.argv[1])).limiter("a", "b", "key")
limiter.reserve(5000).wait()
print("started", flush=True)
sys.stdin.read()
"""
    limiter = LimiterRegistry(tmp_path).limiter("a", "b", "key", limit=Limit(tpm=60_000))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    permit = limiter.reserve(1)
    limiter._cell.clock = time.time
    assert permit._ready() != 0
    before = limiter.snapshot()["wait_seconds"]
    permit.wait()
    waited = limiter.snapshot()["wait_seconds"] - before
    assert 1 < waited < 4  # 5001 tokens at 1000 per second, 2000 at once
    assert limiter.snapshot()["calls"] == 2


def test_the_process_begins_with_the_limits_of_the_settings_files(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("limits:\n  openai: {rpm: 7}\n")
    program = (
        "from sage.kernel.scheduling.registry import process_limits\n"
        "limiter = process_limits().limiter('openai', 'gpt', 'sk-1')\n"
        "print(limiter.snapshot()['rpm'], limiter.snapshot()['tpm'])\n"
    )
    folder = tmp_path / "shared"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "SAGE_HOME": str(tmp_path),
            "SAGE_LIMITS__OPENAI__TPM": "900",
            "SAGE_LIMITS_DIR": str(folder),
        },
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("7.0 900.0\n", "")
    assert len(list(folder.glob("*.limit"))) == 1
