"""W1, W2, W3 and W6 of ``cpu`` as rows: CPU and wall time over a plain loop of the same round.

python -m benchmarks.engine.plain_loop [W1 W2 ...] [--rounds 7] [--n ITEMS] [--json PATH]
"""

from __future__ import annotations

import argparse

from benchmarks.engine import cpu
from benchmarks.harness.meters import ratios
from benchmarks.harness.rows import Row, run_as_script

STRETCH = {
    "opaque callables": 1.0,
    "every stage a thread": 1.8,
    "aggregate": 1.2,
    "value state class": 1.2,
    "own dictionary": 1.2,
    "join, match all": 1.5,
    "join, match one": 1.5,
}


def measure(options: argparse.Namespace) -> list[Row]:
    rows = []
    for work in options.work or cpu.WORK:
        for variant, plain, pipeline, goal in cpu.WORK[work]:
            base, ours = [], []
            for _ in range(options.rounds):
                base.append(cpu.measure(plain, options.n or cpu.ITEMS[work]))
                ours.append(cpu.measure(pipeline, options.n or cpu.ITEMS[work]))
                if base[-1][2] != ours[-1][2]:
                    raise RuntimeError(f"{work}, {variant}: wrong answer")
            name = f"{work} {variant}"
            spent = ratios([cost[1] for cost in ours], [cost[1] for cost in base])
            wall = ratios([cost[0] for cost in ours], [cost[0] for cost in base])
            rows.append(Row(name, "CPU / plain loop", spent, goal, STRETCH.get(variant)))
            rows.append(Row(name, "wall / plain loop", wall))
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work", nargs="*", help=f"of {', '.join(cpu.WORK)}; default: all")
    parser.add_argument("--n", type=int, help="items; default: one million, W6 200,000")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=7, arguments=arguments)
