"""What the engine costs per item without I/O, against a plain loop in the same process.

    python benchmarks/engine/cpu.py [W1 W2 ...] [--n ITEMS] [--rounds 7]

Each round times the plain loop and the pipeline in turn; the ratio of a round is pipeline over
plain. Printed are the median and the smallest of the rounds, in wall and in CPU time of the
process.

W1  5 maps + filter + sum, fused: functions the engine cannot look into ("opaque"), and simple
ones. W2  the same with fusion off: every stage its own thread. W3  running sum per key, 10,000
keys, every update emitted: by ``aggregate``, by a ``ValueState`` class, and
    by a function that keeps its own dictionary.
W6  branch in two and join by id: ``match="all"`` keeps both sides, ``match="one"`` pairs once;
    "by hand" is a loop with the two dictionaries that ``match="all"`` cannot do without.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator

from sage.api import LocalEnvironment, MapFunction

KEYS = [f"k{i}" for i in range(10_000)]
ITEMS = {"W1": 1_000_000, "W2": 1_000_000, "W3": 1_000_000, "W6": 200_000}
"""As many as the peers were measured with."""


def m1(x: int) -> int:
    return x + 1


def m2(x: int) -> int:
    return x * 2


def m3(x: int) -> int:
    return x - 3


def m4(x: int) -> int:
    return x ^ 5


def m5(x: int) -> int:
    return x % 1001


def keep(x: int) -> int:
    return x & 1


STEPS = (m1, m2, m3, m4, m5, keep)


def opaque(function: Callable[[int], int]) -> Callable[[int], int]:
    """The same function with a body the engine cannot paste: two statements."""
    body = BODIES[function.__name__]
    scope: dict[str, Callable[[int], int]] = {}
    exec(f"def f(x):\n    y = {body}\n    return y\n", scope)
    return scope["f"]


BODIES = {
    "m1": "x + 1",
    "m2": "x * 2",
    "m3": "x - 3",
    "m4": "x ^ 5",
    "m5": "x % 1001",
    "keep": "x & 1",
}
OPAQUE = tuple(opaque(f) for f in STEPS)


def kvs(n: int) -> Iterator[tuple[str, int]]:
    keys = KEYS
    for i in range(n):
        yield keys[i * 7919 % 10_000], i % 97


def left(i: int) -> tuple[int, int]:
    return (i, i * 2)


def right(i: int) -> tuple[int, int]:
    return (i, i + 1)


def merge(a: int, b: int) -> int:
    return (a + b) % 1009


def plain_chain(n: int, steps: tuple[Callable[[int], int], ...] = STEPS) -> int:
    a, b, c, d, e, f = steps
    total = 0
    for x in range(n):
        y = e(d(c(b(a(x)))))
        if f(y):
            total += y
    return total


def plain_keyed(n: int) -> int:
    state: dict[str, int] = {}
    check = 0
    for key, value in kvs(n):
        total = state.get(key, 0) + value
        state[key] = total
        check += total
    return check


def plain_join(n: int) -> int:
    total = 0
    for i in range(n):
        a, b = left(i), right(i)
        total += merge(a[1], b[1])
    return total


def join_by_hand(n: int) -> int:
    """What every join that keeps its rows must do at least."""
    lefts: dict[int, tuple[int, int]] = {}
    rights: dict[int, tuple[int, int]] = {}
    total = 0
    for i in range(n):
        a = left(i)
        lefts[a[0]] = a
        b = right(i)
        rights[b[0]] = b
        total += merge(lefts[b[0]][1], b[1])
    return total


def chain(n: int, steps: tuple[Callable[[int], int], ...], **config: bool) -> int:
    env = LocalEnvironment("chain", config=config)
    total = [0]

    def add(x: int) -> None:
        total[0] += x

    stream = env.from_source(range(n))
    for step in steps[:-1]:
        stream = stream.map(step)
    stream.filter(steps[-1]).sink(add)
    env.submit().wait()
    return total[0]


class RunningSum(MapFunction[tuple[str, int], int]):
    def open(self, ctx) -> None:  # type: ignore[no-untyped-def]
        self.total = ctx.value_state("total", 0)

    def execute(self, item: tuple[str, int]) -> int:
        self.total.value = total = self.total.value + item[1]
        return total


def keyed(n: int, how: str) -> int:
    env = LocalEnvironment("keyed")
    check = [0]
    state: dict[str, int] = {}

    def add(x: int) -> None:
        check[0] += x

    def step(kv: tuple[str, int]) -> int:
        state[kv[0]] = now = state.get(kv[0], 0) + kv[1]
        return now

    stream = env.from_source(kvs(n)).key_by(lambda kv: kv[0])
    if how == "aggregate":
        stream.aggregate(0, lambda acc, kv: acc + kv[1]).sink(add)
    elif how == "class":
        stream.map(RunningSum).sink(add)
    else:
        stream.map(step).sink(add)
    env.submit().wait()
    return check[0]


def join(n: int, match: str) -> int:
    env = LocalEnvironment("join")
    total = [0]

    def add(x: int) -> None:
        total[0] += x

    source = env.from_source(range(n))
    a = source.map(left).key_by(lambda p: p[0])
    b = source.map(right).key_by(lambda p: p[0])
    a.connect(b).join(lambda x, y: merge(x[1], y[1]), match=match).sink(add)
    env.submit().wait()
    return total[0]


WORK: dict[str, list[tuple[str, Callable[[int], int], Callable[[int], int], float]]] = {
    "W1": [
        ("opaque callables", lambda n: plain_chain(n, OPAQUE), lambda n: chain(n, OPAQUE), 1.15),
        ("inlined", plain_chain, lambda n: chain(n, STEPS), 0.60),
    ],
    "W2": [
        (
            "every stage a thread",
            lambda n: plain_chain(n, OPAQUE),
            lambda n: chain(n, OPAQUE, fusion=False),
            2.5,
        )
    ],
    "W3": [
        ("aggregate", plain_keyed, lambda n: keyed(n, "aggregate"), 1.5),
        ("value state class", plain_keyed, lambda n: keyed(n, "class"), 1.5),
        ("own dictionary", plain_keyed, lambda n: keyed(n, "own"), 1.5),
    ],
    "W6": [
        ("join, match all", plain_join, lambda n: join(n, "all"), 3.0),
        ("join, match all, by hand", plain_join, join_by_hand, 3.0),
        ("join, match one", plain_join, lambda n: join(n, "one"), 3.0),
    ],
}


def measure(function: Callable[[int], int], n: int) -> tuple[float, float, int]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    answer = function(n)
    return time.perf_counter() - wall, time.process_time() - cpu, answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="*", default=list(WORK))
    parser.add_argument("--n", type=int, help="items; default: one million, W6 200,000")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    heads = ("wall median", "min", "CPU median", "min", "goal")
    print(f"{'work':4} {'variant':24}", *(f"{head:>11}" for head in heads))
    for name in options.work:
        for variant, plain, pipeline, goal in WORK[name]:
            wall, cpu = [], []
            for _ in range(options.rounds):
                base = measure(plain, options.n or ITEMS[name])
                ours = measure(pipeline, options.n or ITEMS[name])
                assert base[2] == ours[2], (name, variant, base[2], ours[2])
                wall.append(ours[0] / base[0])
                cpu.append(ours[1] / base[1])
            numbers = (statistics.median(wall), min(wall), statistics.median(cpu), min(cpu), goal)
            print(f"{name:4} {variant:24}", *(f"{x:11.2f}" for x in numbers), flush=True)


if __name__ == "__main__":
    main()
