"""Personalised PageRank: how much each node matters from where some nodes stand.

A walker starts at the seeds, follows an edge with probability ``damping``, else (and at dead ends)
starts again. The score of a node is the share of its steps spent there; scores add up to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sage.middleware.services.memory.graph.adjacency import Adjacency
from sage.middleware.services.memory.graph.traversal import RowOf


def push(
    row: RowOf,
    seeds: Mapping[int, float],
    damping: float,
    eps: float,
    weights: Callable[[int], list[tuple[int, float]]] | None = None,
) -> tuple[dict[int, float], float]:
    """Approximate scores by forward push: touches the neighbourhood that matters, not the graph.

    Mass waits at its node until there is ``eps`` of it per edge. Of what waits at the end, the part
    that a node with a score keeps at once is counted, the rest is missing: no score is too high,
    and all together they are too low by exactly the mass returned.
    Source: R. Andersen, F. Chung, K. Lang, Local graph partitioning using PageRank vectors, FOCS
    2006.

    Args:
        row: Neighbours of a node.
        seeds: Where the walker starts, with shares that add up to 1.
        damping: Probability of following an edge.
        eps: Less is more exact and slower: mass is handed over at most
            ``1 / (eps * (1 - damping))`` edges.
        weights: Neighbours with weights, to follow edges in proportion to them.

    Returns:
        Scores of the nodes that handed mass on, and the mass that is missing from them.
    """
    score: dict[int, float] = {}
    rest = dict(seeds)
    waiting, front = rest.get, list(seeds)
    while front:
        # In rounds: a node gathers what the round before hands it, and hands it on once.
        level, front = front, []
        for node in level:
            mass = rest[node]
            targets = row(node)
            degree = len(targets)
            if mass < eps * (degree or 1):
                continue
            rest[node] = 0.0
            score[node] = score.get(node, 0.0) + (1 - damping) * mass
            mass *= damping
            if degree and weights is None:
                share = mass / degree
                for target in targets:
                    was = waiting(target, 0.0)
                    rest[target] = now = was + share
                    if now >= eps and was < eps * (len(row(target)) or 1) <= now:
                        front.append(target)
                continue
            for target, share in _shares(seeds, weights(node) if weights else []):
                was = waiting(target, 0.0)
                rest[target] = now = was + mass * share
                if now >= eps and was < eps * (len(row(target)) or 1) <= now:
                    front.append(target)
    kept = 0.0
    for node in score:
        waits = (1 - damping) * rest[node]
        score[node] += waits
        kept += waits
    return score, sum(rest.values()) - kept


def _shares(seeds: Mapping[int, float], pairs: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Where a walker goes: along edges in proportion to their weights, or from a dead end back."""
    total = sum(weight for _, weight in pairs)
    if total > 0:
        return [(target, weight / total) for target, weight in pairs]
    return list(seeds.items())


def iterate(
    adjacency: Adjacency,
    row: Callable[[int], list[tuple[int, float]]],
    seeds: Mapping[int, float] | None,
    damping: float,
    tolerance: float = 1e-10,
) -> dict[int, float]:
    """Exact scores of all nodes by power iteration.

    Args:
        adjacency: For its nodes.
        row: Neighbours with weights.
        seeds: Where the walker starts; every node alike if ``None``.
        damping: Probability of following an edge.
        tolerance: Stops when scores change by less, summed over all nodes.
    """
    nodes = list(adjacency.numbers.values())
    if not nodes:
        return {}
    place = {node: i for i, node in enumerate(nodes)}
    sources: list[int] = []
    targets: list[int] = []
    shares: list[float] = []
    for i, node in enumerate(nodes):
        pairs = row(node)
        total = sum(weight for _, weight in pairs)
        if total > 0:
            sources += [i] * len(pairs)
            targets += [place[other] for other, _ in pairs]
            shares += [weight / total for _, weight in pairs]
    n = len(nodes)
    start = np.zeros(n)
    if seeds is None:
        start[:] = 1 / n
    else:
        for node, share in seeds.items():
            start[place[node]] += share
    source, target = np.array(sources, np.int64), np.array(targets, np.int64)
    parts = np.array(shares, np.float64)
    dead = np.ones(n, np.bool_)
    dead[source] = False
    score = start.copy()
    for _ in range(1000):
        moved = np.bincount(target, weights=score[source] * parts, minlength=n)
        after = damping * (moved + score[dead].sum() * start) + (1 - damping) * start
        change = float(np.abs(after - score).sum())
        score = after
        if change < tolerance:
            break
    return dict(zip(nodes, score.tolist(), strict=True))
