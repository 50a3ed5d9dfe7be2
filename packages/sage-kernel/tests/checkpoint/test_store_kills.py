"""The writer is killed: whatever was acknowledged is there, and what is there is complete."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sage.kernel.checkpoint.store import CheckpointStore

PARTS = """
def parts_of(number):
    parts = {f"{i}": b"%d-%d" % (i, number // (i + 1)) * SIZE for i in range(6)}
    parts["number"] = b"%d" % number
    return parts
"""

EVERY_POINT = (
    """
import os, signal, sys
from pathlib import Path
from sage.kernel.checkpoint.store import CheckpointStore
SIZE = 20
"""
    + PARTS
    + """
WATCHED = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.listdir", "fsync"}

def die_at(point):
    seen = 0
    def step(event, args=()):
        nonlocal seen
        if event in WATCHED:
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
    fsync = os.fsync
    def counted(handle):
        step("fsync")
        fsync(handle)
    os.fsync = counted
    sys.addaudithook(step)

def write(path, point, acknowledge):
    die_at(point)
    with CheckpointStore(path, keep=2) as store:
        for number in range(1, 7):
            store.write(number, parts_of(number), {"n": number})
            os.write(acknowledge, b"%d " % number)

root = Path(sys.argv[1])
point = 0
while True:
    point += 1
    path = root / str(point)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        write(path, point, writing)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with open(reading, "rb") as file:
        acknowledged = int((file.read().split() or [b"0"])[-1])
    with CheckpointStore(path, keep=2) as store:
        loaded = store.load()
        number = loaded.id if loaded else 0
        assert number in (acknowledged, acknowledged + 1), (point, number, acknowledged)
        assert number == 0 or dict(loaded.parts) == parts_of(number), point
        assert number < 2 or dict(store.load(number - 1).parts) == parts_of(number - 1), point
        del loaded
        store.write(number + 1, parts_of(number + 1), {})
        used = {name for info in store.list() for name in store.load(info.id).manifest.packs}
    CheckpointStore(path, keep=2).close()
    left = {p.name for p in path.iterdir()} - {"lock"}
    assert {name for name in left if not name.endswith(".json")} == used, (point, left)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(point)
"""
)

FOR_EVER = (
    """
import itertools, sys
from sage.kernel.checkpoint.store import CheckpointStore
SIZE = 60_000
"""
    + PARTS
    + """
with CheckpointStore(sys.argv[1], keep=2, durability="process") as store:
    loaded = store.load()
    if loaded is not None:
        assert dict(loaded.parts) == parts_of(loaded.id)
    for number in itertools.count(1 if loaded is None else loaded.id + 1):
        store.write(number, parts_of(number), {"n": number})
        print(number, flush=True)
"""
)


def test_killed_at_every_system_call_that_changes_the_store(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EVERY_POINT, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_points(tmp_path, seed):
    rng = random.Random(seed)
    namespace: dict[str, object] = {"SIZE": 60_000}
    exec(PARTS, namespace)
    parts_of = namespace["parts_of"]
    last = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", FOR_EVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 6)):
                last = int(process.stdout.readline())
            # Not a wait for anything: it spreads the kills over the work on the next checkpoint.
            threading.Event().wait(rng.uniform(0, 0.01))
            process.kill()
            last = int(([str(last), *process.stdout.read().split()])[-1])
        with CheckpointStore(Path(tmp_path), keep=2) as store:
            loaded = store.load()
            assert loaded is not None
            assert loaded.id in (last, last + 1)
            assert dict(loaded.parts) == parts_of(loaded.id)  # type: ignore[operator]
            assert [info.id for info in store.list()][-1] == loaded.id
    assert last > 20
