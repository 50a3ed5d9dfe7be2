"""What was acknowledged is there after ``kill -9``, whole batches only; readers never see less."""

from __future__ import annotations

import random
import subprocess
import sys

from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)

WRITER = """
import sys
from pathlib import Path
from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)
graph = GraphMemoryCollection.connect(Path(sys.argv[1]), name="g")
start = int(sys.argv[2])
for i in range(start, 10_000):
    hub = f"hub{i}"
    graph.add_edges([(hub, f"{i}:{j}", {}, "has") for j in range(12)], create_missing=True)
    if i % 4 == 3:
        graph.remove_nodes([f"hub{i - 1}", *(f"{i - 1}:{j}" for j in range(12))])
    if i % 7 == 0:
        graph.store()
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
    for line in process.stdout:
        last = int(line)
    process.wait()
    process.stdout.close()
    return last


def test_no_acknowledged_batch_is_lost_and_none_is_half_there(tmp_path):
    GraphMemoryCollection.create(tmp_path, name="g").close()
    rng, start = random.Random(5), 0
    for _ in range(8):
        last = killed_writer(tmp_path, start, rng.randint(1, 30))
        with GraphMemoryCollection.connect(tmp_path, name="g") as graph:
            hubs = {n["id"] for n in graph.nodes() if n["id"].startswith("hub")}
            assert len(graph) == 13 * len(hubs)
            assert graph.edge_count() == 12 * len(hubs)
            for hub in hubs:
                assert len(graph.neighbors(hub)) == 12
                assert all(graph.neighbors(n, "in") == [hub] for n in graph.neighbors(hub))
            for i in range(start, last + 1):
                removed = i % 4 == 2 and i + 1 <= last
                maybe = i % 4 == 2 and i == last
                assert maybe or (f"hub{i}" in hubs) != removed
            start = max(int(hub[3:]) for hub in hubs) + 1
            assert start <= last + 2


READER = """
import sys
from pathlib import Path
from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)
graph = GraphMemoryCollection.connect(Path(sys.argv[1]), name="graph")
seen = rounds = 0
print("ready", flush=True)
while not graph.has_node("end"):
    found = len(graph.k_hop("root", 2))
    assert found % 2 == 0, found
    assert found >= seen
    seen = found
    rounds += 1
print(rounds, flush=True)
"""


def test_many_readers_see_whole_batches_while_one_writes(graph):
    graph.add_node("root")
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(graph.path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for i in range(400):
        graph.add_edges([("root", f"a{i}"), (f"a{i}", f"b{i}")], create_missing=True)
    graph.add_node("end")
    for reader in readers:
        out, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0
        assert int(out) > 0
    assert len(graph.k_hop("root", 2)) == 800
