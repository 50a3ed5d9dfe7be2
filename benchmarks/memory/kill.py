"""kill -9 at random points of ingest, update, delete, forget and optimize.

    python benchmarks/memory/kill.py                 # 200 kills
    python benchmarks/memory/kill.py --kills 1000 --durability power

Prints rounds, acknowledged operations, and every acknowledged row lost or batch found half.
Exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from sage.middleware.testing.memory_crash import Model, kill_round, make_collection


def main() -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", default="process", choices=["process", "power", "none"])
    parser.add_argument("--every", type=int, default=50, help="kills per fresh collection")
    given = parser.parse_args()
    faults, kept, operations, reopen = 0, 0, 0, []
    done = 0
    while done < given.kills:
        rng = random.Random(given.seed + done)
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder)
            make_collection(data_dir, durability=given.durability)
            model = Model(given.seed + done)
            seed = given.seed + done
            for _ in range(min(given.every, given.kills - done)):
                result = kill_round(data_dir, seed, model, rng)
                reopen.append(result.reopen_seconds)
                kept += result.in_flight_kept
                for fault in result.faults:
                    print("FAULT", fault)
                faults += len(result.faults)
                done += 1
                if done % 10 == 0:
                    print(f"{done} kills, {len(model.rows)} rows, {faults} faults", flush=True)
            operations += model.done
    print(
        f"kills {done}; operations acknowledged or kept {operations}; in-flight operations found "
        f"whole {kept}; faults {faults}; reopen and first answer {statistics.median(reopen):.3f} s "
        f"median, {max(reopen):.3f} s worst"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
