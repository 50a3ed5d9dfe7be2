"""Which of several targets is next. Pure: no threads, no clocks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


class Balance:
    """Chooses an index of ``weights`` for one item after another.

    Args:
        weights: Shares of the targets, above 0.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = list(weights)
        self._credit = [0.0] * len(weights)
        self._in_flight = [0] * len(weights)
        self._turn = 0

    def round_robin(self) -> int:
        """Each in its turn."""
        chosen = self._turn % len(self._weights)
        self._turn += 1
        return chosen

    def weighted(self) -> int:
        """Each as often as its weight says, spread evenly.

        Source: smooth weighted round robin, as nginx's upstream module does it.
        """
        self._credit = [c + w for c, w in zip(self._credit, self._weights, strict=True)]
        chosen = max(range(len(self._credit)), key=self._credit.__getitem__)
        self._credit[chosen] -= sum(self._weights)
        return chosen

    def least_in_flight(self) -> int:
        """The one with the fewest items in flight for its weight; of equals the next in turn."""
        count = len(self._weights)
        order = [(self._turn + n) % count for n in range(count)]
        chosen = min(order, key=lambda n: self._in_flight[n] / self._weights[n])
        self._turn = chosen + 1
        return chosen

    def sticky(self, key: str) -> int:
        """The same for the same key, in every process; few keys move when the targets change.

        Source: D. Thaler, C. Ravishankar, Using Name-Based Mappings to Increase Hit Rates, 1998
        (rendezvous hashing), with weights as in J. Resch, 2015.
        """

        def rank(index: int) -> float:
            data = f"{index}\0{key}".encode("utf-8", "surrogatepass")
            number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
            return -self._weights[index] / math.log((number + 0.5) / 2**64)

        return max(range(len(self._weights)), key=rank)

    def start(self, index: int) -> None:
        """An item goes to the target."""
        self._in_flight[index] += 1

    def end(self, index: int) -> None:
        """An item has left the target."""
        self._in_flight[index] -= 1
