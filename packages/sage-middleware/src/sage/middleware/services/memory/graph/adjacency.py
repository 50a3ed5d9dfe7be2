"""Who is whose neighbour, in memory.

Loaded as compressed sparse rows; the row of a node becomes a list when it is first asked for or
changed. So opening costs reading a few arrays, a walk costs one dictionary look-up per node, and a
new edge one append.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.graph.keys import NodeKey

T = TypeVar("T", int, float)
Ints = npt.NDArray[np.int32]
Starts = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


class Rows(dict[int, list[T]], Generic[T]):
    """Lists by node; one that is not there yet is cut out of the arrays.

    Args:
        starts: ``(n + 1,)`` where the row of each node begins.
        values: ``(edges,)``.
    """

    __slots__ = ("_starts", "_values")

    def __init__(self, starts: Sequence[int], values: Sequence[T]) -> None:
        super().__init__()
        self._starts: Sequence[int] = starts
        self._values: Sequence[T] = values

    def __missing__(self, node: int) -> list[T]:
        starts = self._starts
        row = list(self._values[starts[node] : starts[node + 1]]) if node < len(starts) - 1 else []
        self[node] = row
        return row


class Side:
    """Edges seen from one of their ends, sorted by that end.

    Args:
        starts: ``(n + 1,)``, n above every node number.
        others: The other ends.
        types: Type numbers.
        weights: Weights.
    """

    def __init__(self, starts: Starts, others: Ints, types: Ints, weights: Weights) -> None:
        cuts = starts.tolist()
        self.others: Rows[int] = Rows(cuts, others.tolist())
        # Types and weights are asked for seldom: their arrays are cut as they are.
        self.types: Rows[int] = Rows(cuts, _Cut(types))  # type: ignore[arg-type]
        self.weights: Rows[float] = Rows(cuts, _Cut(weights))  # type: ignore[arg-type]

    def add(self, node: int, other: int, kind: int, weight: float) -> None:
        """Adds an edge that is not there."""
        self.others[node].append(other)
        self.types[node].append(kind)
        self.weights[node].append(weight)

    def find(self, node: int, other: int, kind: int) -> int:
        """Place of an edge in its row."""
        others, types = self.others[node], self.types[node]
        at = others.index(other)
        while types[at] != kind:
            at = others.index(other, at + 1)
        return at

    def remove(self, node: int, other: int, kind: int) -> None:
        """Removes an edge that is there."""
        at = self.find(node, other, kind)
        for rows in (self.others, self.types, self.weights):
            del rows[node][at]

    def weigh(self, node: int, other: int, kind: int, weight: float) -> None:
        """Changes the weight of an edge that is there."""
        self.weights[node][self.find(node, other, kind)] = weight

    def clear(self, node: int) -> None:
        """Empties the row of a node."""
        self.others[node], self.types[node], self.weights[node] = [], [], []


class _Cut(Generic[T]):
    """An array that is cut into lists."""

    def __init__(self, array: npt.NDArray[np.generic]) -> None:
        self._array = array

    def __getitem__(self, part: slice) -> list[T]:
        cut: list[T] = self._array[part].tolist()
        return cut


class Adjacency:
    """Nodes by number and key, and their edges both ways.

    Args:
        keys: Key by number; ``None`` for numbers that are not used.
        sources: ``(edges,)`` sorted.
        targets: ``(edges,)``.
        types: ``(edges,)``.
        weights: ``(edges,)``.
    """

    def __init__(
        self,
        keys: list[NodeKey | None],
        sources: Ints,
        targets: Ints,
        types: Ints,
        weights: Weights,
    ) -> None:
        self.keys = keys
        self.numbers: dict[NodeKey, int] = {key: i for i, key in enumerate(keys) if key is not None}
        self.edges = len(sources)
        n = len(keys)
        self.out = Side(_starts(sources, n), targets, types, weights)
        back = np.argsort(targets, kind="stable")
        self.in_ = Side(_starts(targets, n), sources[back], types[back], weights[back])

    def add_node(self, number: int, key: NodeKey | None) -> None:
        """Adds a node without edges; one without a key cannot be asked for."""
        if number >= len(self.keys):
            self.keys.extend([None] * (number + 1 - len(self.keys)))
        self.keys[number] = key
        if key is not None:
            self.numbers[key] = number
        self.out.clear(number)
        self.in_.clear(number)

    def remove_node(self, number: int) -> None:
        """Removes a node that has no edges any more."""
        key = self.keys[number]
        if key is not None:
            del self.numbers[key]
        self.keys[number] = None

    def add_edge(self, source: int, target: int, kind: int, weight: float) -> None:
        """Adds an edge."""
        self.out.add(source, target, kind, weight)
        self.in_.add(target, source, kind, weight)
        self.edges += 1

    def remove_edge(self, source: int, target: int, kind: int) -> None:
        """Removes an edge."""
        self.out.remove(source, target, kind)
        self.in_.remove(target, source, kind)
        self.edges -= 1

    def weigh_edge(self, source: int, target: int, kind: int, weight: float) -> None:
        """Changes an edge's weight."""
        self.out.weigh(source, target, kind, weight)
        self.in_.weigh(target, source, kind, weight)


def _starts(sorted_or_not: Ints, n: int) -> Starts:
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(sorted_or_not, minlength=n), out=starts[1:])
    return starts
