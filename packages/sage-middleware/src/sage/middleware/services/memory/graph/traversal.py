"""Walks over an adjacency: k hops and shortest paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import chain, count
from typing import TypeAlias

from sage.middleware.services.memory.graph.adjacency import Adjacency, Side
from sage.middleware.services.memory.graph.keys import Direction

RowOf: TypeAlias = Callable[[int], list[int]]
"""Neighbours of a node; do not change the list."""


def neighbours(adjacency: Adjacency, direction: Direction, types: frozenset[int] | None) -> RowOf:
    """A function that gives a node's neighbours, one for every edge to or from it."""
    sides = [adjacency.out] * (direction != "in") + [adjacency.in_] * (direction != "out")
    if types is None:
        if len(sides) == 1:
            return sides[0].others.__getitem__
        out, back = sides[0].others, sides[1].others
        return lambda node: out[node] + back[node]

    def row(node: int) -> list[int]:
        return [
            other
            for side in sides
            for other, kind in zip(side.others[node], side.types[node], strict=True)
            if kind in types
        ]

    return row


def weighted(
    adjacency: Adjacency, direction: Direction, types: frozenset[int] | None
) -> Callable[[int], list[tuple[int, float]]]:
    """Like ``neighbours``, with the weight of each edge."""
    sides: list[Side] = [adjacency.out] * (direction != "in")
    sides += [adjacency.in_] * (direction != "out")

    def row(node: int) -> list[tuple[int, float]]:
        return [
            (other, weight)
            for side in sides
            for other, kind, weight in zip(
                side.others[node], side.types[node], side.weights[node], strict=True
            )
            if types is None or kind in types
        ]

    return row


def k_hop(row: RowOf, start: int, hops: int, limit: int | None = None) -> list[int]:
    """Nodes at a distance of 1 to ``hops`` edges, nearest first, without the start."""
    found: list[int]
    if hops == 2 and limit is None:
        # The common case: no sets of what was seen, one dictionary keeps the order.
        near = row(start)
        order = dict.fromkeys(chain(near, *map(row, near)))
        order.pop(start, None)
        return list(order)
    front = set(row(start))
    front.discard(start)
    found, seen = list(front), front | {start}
    for left in range(hops - 1, 0, -1):
        if limit is not None and len(found) >= limit:
            break
        further = set().union(*map(row, front))
        further -= seen
        if not further:
            break
        found += further
        if left > 1:
            seen |= further
        front = further
    return found if limit is None else found[:limit]


def shortest_path(
    forward: RowOf, backward: RowOf, start: int, goal: int, max_hops: int | None = None
) -> list[int] | None:
    """Fewest edges: breadth first from both ends, always from the smaller front."""
    if start == goal:
        return [start]
    came: dict[int, int] = {start: -1}
    goes: dict[int, int] = {goal: -1}
    near, far, hops = [start], [goal], 0
    while near and far and (max_hops is None or hops < max_hops):
        hops += 1
        if len(near) <= len(far):
            level, near = near, []
            for node in level:
                for other in forward(node):
                    if other not in came:
                        came[other] = node
                        if other in goes:
                            return _joined(other, came, goes)
                        near.append(other)
        else:
            level, far = far, []
            for node in level:
                for other in backward(node):
                    if other not in goes:
                        goes[other] = node
                        if other in came:
                            return _joined(other, came, goes)
                        far.append(other)
    return None


def _joined(middle: int, came: Mapping[int, int], goes: Mapping[int, int]) -> list[int]:
    path, node = [], middle
    while node != -1:
        path.append(node)
        node = came[node]
    path.reverse()
    node = goes[middle]
    while node != -1:
        path.append(node)
        node = goes[node]
    return path


def lightest_path(
    forward: Callable[[int], list[tuple[int, float]]],
    backward: Callable[[int], list[tuple[int, float]]],
    start: int,
    goal: int,
) -> tuple[list[int], float] | None:
    """The path with the least sum of weights, and that sum: Dijkstra from both ends."""
    if start == goal:
        return [start], 0.0
    rows = (forward, backward)
    done: tuple[dict[int, float], dict[int, float]] = ({}, {})
    seen: tuple[dict[int, float], dict[int, float]] = ({start: 0.0}, {goal: 0.0})
    via: tuple[dict[int, int], dict[int, int]] = ({start: -1}, {goal: -1})
    ticket = count()
    heaps: tuple[list[tuple[float, int, int]], list[tuple[float, int, int]]] = (
        [(0.0, next(ticket), start)],
        [(0.0, next(ticket), goal)],
    )
    least, middle = float("inf"), -1
    while heaps[0] and heaps[1] and heaps[0][0][0] + heaps[1][0][0] < least:
        side = 0 if heaps[0][0][0] <= heaps[1][0][0] else 1
        distance, _, node = heappop(heaps[side])
        if node in done[side]:
            continue
        done[side][node] = distance
        for other, weight in rows[side](node):
            further = distance + weight
            if further < seen[side].get(other, float("inf")):
                seen[side][other] = further
                via[side][other] = node
                heappush(heaps[side], (further, next(ticket), other))
                total = further + seen[1 - side].get(other, float("inf"))
                if total < least:
                    least, middle = total, other
    if middle < 0:
        return None
    return _joined(middle, via[0], via[1]), least
