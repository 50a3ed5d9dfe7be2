"""kill -9 at random points of ingest, update, delete, forget and optimize.

    python -m benchmarks.memory.kill                 # 200 kills
    python -m benchmarks.memory.kill --kills 1000 --durability power

Counts every acknowledged row lost and every batch found half; there must be none.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.rows import Row, run_as_script

from sage.middleware.testing.memory_crash import Model, kill_round, make_collection


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    faults, kept, operations, done = 0, 0, 0, 0
    reopen: list[float] = []
    while done < options.kills:
        seed = options.seed + done
        rng, model = random.Random(seed), Model(seed)
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder)
            make_collection(data_dir, durability=options.durability)
            for _ in range(min(options.every, options.kills - done)):
                result = kill_round(data_dir, seed, model, rng)
                reopen.append(result.reopen_seconds)
                kept += result.in_flight_kept
                for fault in result.faults:
                    print("FAULT", fault, file=sys.stderr)
                faults += len(result.faults)
                done += 1
        operations += model.done
    note = f"{done} kills, {operations} operations acknowledged or kept, {kept} found whole"
    return [
        Row("Memory, kill -9", "acknowledged rows lost, batches found half", [faults], 0, 0,
            note=note),
        Row("Memory, kill -9", "reopen and first answer, s", reopen),
    ]  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", default="process", choices=["process", "power", "none"])
    parser.add_argument("--every", type=int, default=50, help="kills per fresh collection")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=1, arguments=options)
