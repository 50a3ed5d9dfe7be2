"""The Graph collection against networkx, in one run. Needs networkx and scipy.

    python -m benchmarks.memory.graph                 # 100,000 nodes, 500,000 edges
    python -m benchmarks.memory.graph --nodes 20000

Half of the targets are drawn from earlier targets, so there are hubs. Every answer is compared
with that of networkx, the twenty best of PageRank with those of our exact power iteration.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import networkx as nx
import numpy as np
from benchmarks.harness.meters import ratios
from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)


def make_edges(nodes: int) -> list[tuple[int, int]]:
    """Five distinct edges per node."""
    rng = np.random.default_rng(4)
    edges: dict[tuple[int, int], None] = {}
    targets: list[int] = []
    while len(edges) < 5 * nodes:
        for source, target, again, place in zip(
            rng.integers(0, nodes, 10_000).tolist(),
            rng.integers(0, nodes, 10_000).tolist(),
            (rng.random(10_000) < 0.5).tolist(),
            rng.random(10_000).tolist(),
            strict=True,
        ):
            if again and targets:
                target = targets[int(place * len(targets))]  # noqa: PLW2901
            edges[source, target] = None
            targets.append(target)
    return list(edges)[: 5 * nodes]


def timed(call: Callable[[Any], Any], arguments: Sequence[Any]) -> tuple[float, list[Any]]:
    """Median milliseconds of one call, and the answers; each is asked once before."""
    answers = [call(argument) for argument in arguments]
    times = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e3, answers


def apply(call: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call with several arguments."""
    return call(*arguments)


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    n, edges = options.nodes, make_edges(options.nodes)
    rng = np.random.default_rng(5)
    model = nx.DiGraph()
    model.add_nodes_from(range(n))
    model.add_edges_from(edges)
    starts = [s for s in rng.integers(0, n, 400).tolist() if model.out_degree(s)][:200]
    pairs = rng.integers(0, n, (60, 2)).tolist()

    def peer_hops(node: int) -> set[int]:
        found: set[int] = set()
        for near in model.successors(node):
            found.add(near)
            found.update(model.successors(near))
        return found

    def peer_path(pair: tuple[int, int]) -> list[int] | None:
        try:
            path: list[int] = nx.bidirectional_shortest_path(model, *pair)
        except nx.NetworkXNoPath:
            return None
        return path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        begin = time.perf_counter()
        graph = GraphMemoryCollection.create(path, name="graph")
        graph.add_nodes((i, {"name": f"entity {i}", "kind": f"k{i % 12}"}) for i in range(n))
        graph.add_edges((s, t, {"rel": f"r{i % 20}"}) for i, (s, t) in enumerate(edges))
        ingest = time.perf_counter() - begin
        reopen, hops, hops_peer, paths, paths_peer, rank, rank_peer = ([] for _ in range(7))
        for _ in range(options.rounds):
            graph.close()
            begin = time.perf_counter()
            graph = GraphMemoryCollection.connect(path, name="graph")
            graph.neighbors(0)
            reopen.append(time.perf_counter() - begin)
            mine, found = timed(partial(graph.k_hop, k=2), starts)
            theirs, expected = timed(peer_hops, starts)
            assert all(set(a) == b - {s} for a, b, s in zip(found, expected, starts, strict=True))
            hops.append(mine)
            hops_peer.append(theirs)
            mine, found = timed(partial(apply, graph.shortest_path), pairs)
            theirs, expected = timed(peer_path, pairs)
            assert [a and len(a) for a in found] == [b and len(b) for b in expected]
            paths.append(mine)
            paths_peer.append(theirs)
            mine, found = timed(graph.pagerank, starts[:12])
            rank.append(mine)
            begin = time.perf_counter()
            nx.pagerank(model, alpha=0.85, personalization={starts[0]: 1})
            rank_peer.append((time.perf_counter() - begin) * 1e3)
        shared = []
        for start, scores in zip(starts[:12], found, strict=True):
            best = set(graph.pagerank(start, exact=True, topk=20))
            shared.append(len(best & set(list(scores)[:20])) / len(best))
        new = [(s, (s + i + 1) % n) for i, s in enumerate(starts)]
        times = []
        for source, target in new:
            begin = time.perf_counter()
            graph.add_edge(source, target)
            times.append(time.perf_counter() - begin)
        graph.close()
    return [
        Row("Graph", "2 hops, ms p50", hops),
        Row("Graph", "2 hops / networkx", ratios(hops, hops_peer), 1.5, 1.0),
        Row("Graph", "shortest path, ms p50", paths),
        Row("Graph", "shortest path / networkx", ratios(paths, paths_peer), 1.5, 1.0),
        Row("Graph", "personalised PageRank, ms p50", rank),
        Row("Graph", "PageRank / networkx", ratios(rank, rank_peer), 0.01, 0.002),
        Row("Graph", "PageRank, best 20 shared with exact", [float(np.mean(shared))], 0.95,
            at_least=True),
        Row("Graph", "reopen to first answer, s", reopen, 0.5, 0.1),
        Row("Graph", "add one edge, ms p50", [float(np.median(times)) * 1e3]),
        Row("Graph", "ingest, s", [ingest]),
    ]  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--nodes", type=int, default=100_000)


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=3, arguments=options)
