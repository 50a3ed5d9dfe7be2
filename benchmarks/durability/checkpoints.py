"""What a checkpoint every second costs a pipeline, against the same pipeline without.

    python -m benchmarks.durability.checkpoints [--n 3000000] [--rounds 5]

W1: 5 maps, a filter and a sum of opaque functions. W3: running sum per key, 10,000 keys, by a class
with a value state and by ``aggregate``. The runs take some seconds, so that there are several
checkpoints; each round runs both ways in turn, and the ratio is of CPU time (all threads) and of
wall time. The first and the last checkpoint, which every run has, are part of it.
"""

from __future__ import annotations

import argparse
import tempfile

from benchmarks.engine.cpu import OPAQUE, RunningSum, kvs
from benchmarks.harness.meters import Meter, ratios
from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment

STRETCH = 1.02
MUST = 1.05


def chain(env: LocalEnvironment, n: int, total: list[int]) -> None:
    stream = env.from_source(range(n))
    for step in OPAQUE[:-1]:
        stream = stream.map(step)

    def add(x: int) -> None:
        total[0] += x

    stream.filter(OPAQUE[-1]).sink(add)


def value_state(env: LocalEnvironment, n: int, total: list[int]) -> None:
    def add(x: int) -> None:
        total[0] += x

    stream = env.from_source(lambda: kvs(n)).key_by(lambda item: item[0])
    stream.map(RunningSum).sink(add)


def aggregate(env: LocalEnvironment, n: int, total: list[int]) -> None:
    def add(x: int) -> None:
        total[0] += x

    stream = env.from_source(lambda: kvs(n)).key_by(lambda item: item[0])
    stream.aggregate(0, lambda sum_, item: sum_ + item[1]).sink(add)


WORKS = {"W1": chain, "W3 value state": value_state, "W3 aggregate": aggregate}


def run(name: str, n: int, store: str | None) -> tuple[Meter, int, int]:
    env = LocalEnvironment("bench")
    if store is not None:
        env.enable_checkpoints(1.0, store=store, resume="never")
    total = [0]
    WORKS[name](env, n, total)
    with Meter() as meter:
        job = env.submit()
        job.wait()
    taken = sum(e.get("event") == "checkpoint_completed" for e in job.events())
    return meter, total[0], taken


def measure(options: argparse.Namespace) -> list[Row]:
    rows = []
    for name in WORKS:
        with_, without, taken = [], [], 0
        for _ in range(options.rounds):
            base, expected, _ = run(name, options.n, None)
            with tempfile.TemporaryDirectory() as store:
                ours, found, taken = run(name, options.n, store)
            if found != expected:
                raise RuntimeError(f"{name}: {found} instead of {expected}")
            with_.append(ours)
            without.append(base)
        cpu = ratios([m.cpu for m in with_], [m.cpu for m in without])
        wall = ratios([m.wall for m in with_], [m.wall for m in without])
        note = f"{taken} checkpoints in {with_[-1].wall:.1f} s"
        rows.append(Row(name, "CPU, ratio to no checkpoints", cpu, MUST, STRETCH, note=note))
        rows.append(Row(name, "time, ratio to no checkpoints", wall))
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n", type=int, default=6_000_000, help="items (default 6,000,000)")


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
