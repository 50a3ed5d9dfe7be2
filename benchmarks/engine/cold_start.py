"""W7: what a fresh process pays.

    python -m benchmarks.engine.cold_start [--rounds 11] [--json PATH]

Each round starts the bare interpreter and every variant in turn; an import is charged with its
round's difference to the bare interpreter, a pipeline with its whole process. Goals are judged by
CPU time (user and system): on an idle machine it is the wall time, since all of it is one thread
that computes, and on a busy one it does not count waiting for a core.
"""

from __future__ import annotations

import argparse

from benchmarks.harness.meters import Cost, cold_process, ratios
from benchmarks.harness.rows import Row, run_as_script

SYNC = """
from sage.api import LocalEnvironment
out = []
env = LocalEnvironment("one")
env.from_collection([1]).map(lambda x: x + 1).sink(out.append)
env.submit().wait()
assert out == [2]
"""
ASYNC = """
from sage.api import LocalEnvironment
out = []
async def step(x):
    return x + 1
env = LocalEnvironment("one")
env.from_collection([1]).map(step).sink(out.append)
env.submit().wait()
assert out == [2]
"""
BARE = "pass"
IMPORTS = {
    "import sage.api": "import sage.api",
    "from sage.api import LocalEnvironment": "from sage.api import LocalEnvironment",
}
PROCESSES = {
    "one item, synchronous step": (SYNC, 0.10, 0.07),
    "one item, asynchronous step": (ASYNC, None, None),
    "the same without uvloop": ("import sys; sys.modules['uvloop'] = None\n" + ASYNC, None, None),
}


def measure(options: argparse.Namespace) -> list[Row]:
    codes = {
        "bare": BARE,
        **IMPORTS,
        **{name: code for name, (code, _, _) in PROCESSES.items()},
    }
    costs: dict[str, list[Cost]] = {name: [] for name in codes}
    for number in range(-1, options.rounds):
        for name, code in codes.items():
            cost = cold_process(code)
            if number >= 0:  # the first round fills the caches of bytecode and files
                costs[name].append(cost)
    bare = costs["bare"]
    rows = [
        Row("W7 bare interpreter", "CPU, ms", [c.cpu * 1e3 for c in bare]),
        Row("W7 bare interpreter", "wall, ms", [c.wall * 1e3 for c in bare]),
    ]
    for name in IMPORTS:
        pairs = list(zip(costs[name], bare, strict=True))
        work = f"W7 {name}"
        rows += [
            Row(work, "CPU beyond bare, ms", [(a.cpu - b.cpu) * 1e3 for a, b in pairs], 30),
            Row(work, "wall beyond bare, ms", [(a.wall - b.wall) * 1e3 for a, b in pairs]),
            Row(work, "CPU / bare", [a.cpu / b.cpu for a, b in pairs]),
        ]
    for name, (_, goal, stretch) in PROCESSES.items():
        work = f"W7 {name}"
        rows += [
            Row(work, "whole process, CPU s", [c.cpu for c in costs[name]], goal, stretch),
            Row(work, "whole process, wall s", [c.wall for c in costs[name]]),
            Row(work, "CPU / bare", ratios([c.cpu for c in costs[name]], [c.cpu for c in bare])),
        ]
    return rows


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=11)
