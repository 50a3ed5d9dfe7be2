"""Pipelines as data, with a reference that evaluates them in plain Python.

A plan is a list of steps; each reads the output of earlier ones (by index). ``build`` declares it
on an environment, ``expected`` computes what it must give, and ``flows`` how many items go through
each step. The functions are numbered, so that a plan prints as what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = tuple[str, int, tuple[int, ...], dict[str, Any]]
"""Kind, number of its function, indexes of its inputs, step options."""

MAPS: tuple[Callable[[int], Any], ...] = (
    lambda x: x + 1,
    lambda x: x * 3 % 1009,
    lambda x: -x,
    lambda x: x // 2,
)
FILTERS: tuple[Callable[[int], Any], ...] = (
    lambda x: x % 2 == 0,
    lambda x: x % 3 != 1,
    lambda x: x > 10,
    lambda x: True,
)
EXPANSIONS: tuple[Callable[[int], Any], ...] = (
    lambda x: [x] * (abs(x) % 3),
    lambda x: (x, x + 1),
    lambda x: None if x % 2 else iter([x]),
    lambda x: (y for y in range(abs(x) % 4)),
)
KEYS: tuple[Callable[[int], Any], ...] = (
    lambda x: x % 5,
    lambda x: str(x % 3),
    lambda x: x > 0,
    lambda x: 0,
)


def even_odd(x: int) -> str:
    """Route function of all plans."""
    return "even" if x % 2 == 0 else "odd"


def count_sum(total: int, x: int) -> int:
    """Fold of all plans; does not depend on the order of the items."""
    return total + abs(x) + 1


class Plan:
    """See the module.

    Args:
        items: What the source gives.
        steps: In an order in which each reads earlier ones only; index 0 is the source.
    """

    def __init__(self, items: list[int], steps: list[Step]) -> None:
        self.items = items
        self.steps = steps

    def __repr__(self) -> str:
        lines = [f"Plan({self.items!r}, ["]
        lines += [f"    {step!r},  # {i}" for i, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, "])"])

    def used(self) -> set[tuple[int, str | None]]:
        """Outputs ``(step, port)`` that some step reads."""
        return {
            self._output(source, i) for i, step in enumerate(self.steps, 1) for source in step[2]
        }

    def _output(self, source: int, reader: int) -> tuple[int, str | None]:
        """The output of ``source`` that ``reader`` gets: of a route, one port or the other."""
        if source and self.steps[source - 1][0] == "route":
            return source, ("even", "odd")[reader % 2]
        return source, None

    def ends(self) -> list[tuple[int, str | None]]:
        """Outputs that nobody reads; each gets a sink."""
        used = self.used()
        outputs: list[tuple[int, str | None]] = []
        for i in range(len(self.steps) + 1):
            route = i > 0 and self.steps[i - 1][0] == "route"
            outputs += [(i, port) for port in (("even", "odd") if route else (None,))]
        return [output for output in outputs if output not in used]

    # ------------------------------------------------------------------ on an environment

    def build(self, env: Any, out: list[Any]) -> None:
        """Declare it; every end appends ``(end, item)`` to ``out``."""
        streams: dict[tuple[int, str | None], Any] = {
            (0, None): env.from_collection(self.items, name="s0")
        }
        for i, (kind, number, sources, options) in enumerate(self.steps, 1):
            inputs = [streams[self._output(source, i)] for source in sources]
            made = self._declare(kind, number, inputs, {"name": f"s{i}", **options})
            if kind == "route":
                for port in ("even", "odd"):
                    streams[i, port] = made[port]
            else:
                streams[i, None] = made
        for end in self.ends():
            streams[end].sink(lambda item, end=end: out.append((end, item)))

    @staticmethod
    def _declare(kind: str, number: int, inputs: list[Any], options: dict[str, Any]) -> Any:
        stream = inputs[0]
        if kind == "map":
            return stream.map(MAPS[number], **options)
        if kind == "amap":
            function = MAPS[number]

            async def call(x: int) -> Any:
                return function(x)

            return stream.map(call, **options)
        if kind == "filter":
            return stream.filter(FILTERS[number], **options)
        if kind == "flatmap":
            return stream.flatmap(EXPANSIONS[number], **options)
        if kind == "union":
            return stream.union(*inputs[1:], **options)
        if kind == "route":
            return stream.route(even_odd, routes=["even", "odd"], **options)
        if kind == "fold":
            keyed = stream.key_by(KEYS[number])
            return keyed.aggregate(0, count_sum, **options)
        raise ValueError(kind)

    # ------------------------------------------------------------------ reference

    def expected(self) -> dict[tuple[int, str | None], list[Any]]:
        """End -> items that must arrive there, sorted."""
        values = self._values()
        return {end: sorted(values[end]) for end in self.ends()}

    def flows(self) -> dict[str, tuple[int, int]]:
        """Step name -> items in and out."""
        values = self._values()
        flows = {"s0": (len(self.items), len(self.items))}
        for i, (kind, _, sources, _) in enumerate(self.steps, 1):
            into = sum(len(values[self._output(source, i)]) for source in sources)
            out = into if kind == "route" else len(values[i, None])
            flows[f"s{i}"] = (into, out)
        return flows

    def _values(self) -> dict[tuple[int, str | None], list[Any]]:
        values: dict[tuple[int, str | None], list[Any]] = {(0, None): list(self.items)}
        for i, (kind, number, sources, _) in enumerate(self.steps, 1):
            items = [x for source in sources for x in values[self._output(source, i)]]
            if kind == "route":
                values[i, "even"] = [x for x in items if x % 2 == 0]
                values[i, "odd"] = [x for x in items if x % 2]
            else:
                values[i, None] = _apply(kind, number, items)
        return values


def _apply(kind: str, number: int, items: list[int]) -> list[Any]:
    if kind in ("map", "amap"):
        return [MAPS[number](x) for x in items]
    if kind == "filter":
        return [x for x in items if FILTERS[number](x)]
    if kind == "flatmap":
        return [y for x in items for y in EXPANSIONS[number](x) or ()]
    if kind == "union":
        return items
    totals: dict[Any, int] = {}
    out = []
    for x in items:
        key = KEYS[number](x)
        totals[key] = count_sum(totals.get(key, 0), x)
        out.append(totals[key])
    return out
