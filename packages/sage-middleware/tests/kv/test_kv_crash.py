"""What was acknowledged is there after ``kill -9``, whole batches only; readers never see less."""

from __future__ import annotations

import random
import subprocess
import sys

from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection

WRITER = """
import sys
from pathlib import Path
from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection
kv = KVMemoryCollection.connect(Path(sys.argv[1]), name="kv")
start = int(sys.argv[2])
for i in range(start, 10_000):
    kv.put_many({f"{i:06d}:{j}": {"batch": i, "text": f"word{i} common"} for j in range(20)})
    if i % 3 == 0:
        kv.delete_prefix(f"{i - 1:06d}:")
    print(i, flush=True)
"""


def killed_writer(path, start, acknowledgements):
    """Runs the writer until it has acknowledged so many batches; the last one it did."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE, text=True
    )
    last = start - 1
    for line in process.stdout:
        last = int(line)
        if last - start + 1 >= acknowledgements:
            process.kill()
            break
    for line in process.stdout:  # what it had said before the signal came
        last = int(line)
    process.wait()
    process.stdout.close()
    return last


def test_no_acknowledged_batch_is_lost_and_none_is_half_there(tmp_path):
    KVMemoryCollection.create(tmp_path, name="kv", text_fields=["text"], language="none").close()
    rng, start = random.Random(7), 0
    for _ in range(8):
        last = killed_writer(tmp_path, start, rng.randint(1, 40))
        with KVMemoryCollection.connect(tmp_path, name="kv") as kv:
            counts = {}
            for key, value in kv.scan():
                assert int(key.split(":")[0]) == value["batch"]
                counts[value["batch"]] = counts.get(value["batch"], 0) + 1
            assert set(counts.values()) == {20}
            for i in range(start, last + 1):
                deleted = (i + 1) % 3 == 0 and i + 1 <= last
                maybe = (i + 1) % 3 == 0 and i + 1 == last + 1
                assert maybe or (i in counts) != deleted
            assert max(counts) <= last + 1
            newest = max(counts)
            assert len(kv.search(f"word{newest}", topk=50)) == 20
            assert len(kv.search("common", topk=100_000)) == len(kv)
            start = newest + 1


READER = """
import sys
from pathlib import Path
from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection
kv = KVMemoryCollection.connect(Path(sys.argv[1]), name="kv")
seen, rounds = 0, 0
print("ready", flush=True)
while kv.get("end") is None:
    pair = kv.get_many(["a", "b"])
    assert pair["a"] == pair["b"], pair
    assert pair["a"] >= seen
    seen = pair["a"]
    rounds += 1
print(rounds, flush=True)
"""


def test_many_readers_see_whole_batches_while_one_writes(kv):
    kv.put_many({"a": 0, "b": 0})
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(kv.path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for i in range(1, 2000):
        kv.put_many({"a": i, "b": i})
    kv.put("end", True)
    for reader in readers:
        out, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0
        assert int(out) > 0
