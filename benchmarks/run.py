"""All benchmarks that make a claim, as one table.

    python benchmarks/run.py [NAME ...] [--rounds 5] [--quick] [--data DIR]

``--data`` is the folder of the open data sets; without it, what is measured on them is left out.
Each benchmark runs in a process of its own. The table goes to the terminal, the rows with every
round to ``benchmarks/results/TIME.json`` (not under version control). Ends with status 1 when a
goal is missed or a benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.harness.rows import Row, print_table, write_json  # noqa: E402

BENCHMARKS = {
    "plain_loop": ("benchmarks.engine.plain_loop", ["--n", "100000"]),
    "model_calls": ("benchmarks.engine.model_calls", ["--items", "500"]),
    "barrier": ("benchmarks.engine.barrier", []),
    "backpressure": ("benchmarks.engine.backpressure", ["--seen", "200"]),
    "cold_start": ("benchmarks.engine.cold_start", []),
    "failure": ("benchmarks.engine.failure", []),
    "main_job": ("benchmarks.rag.main_job", ["--questions", "100"]),
    "checkpoints": ("benchmarks.durability.checkpoints", ["--n", "2000000"]),
    "ledger": ("benchmarks.durability.ledger", ["--calls", "1000"]),
    "limits": ("benchmarks.durability.limits", ["--seconds", "6"]),
    "first_token": ("benchmarks.rag.first_token", ["--questions", "10"]),
    "vectors": ("benchmarks.memory.vectors", ["--rows", "10000", "--queries", "50"]),
    "bm25": ("benchmarks.memory.bm25", ["--documents", "10000"]),
    "kv": ("benchmarks.memory.kv", ["--values", "10000"]),
    "graph": ("benchmarks.memory.graph", ["--nodes", "10000"]),
    "memory_kill": ("benchmarks.memory.kill", ["--kills", "10"]),
    "embed": ("benchmarks.memory.embed", ["--sets", "cranfield", "--queries", "50"]),
    "search_quality": ("benchmarks.memory.quality", ["--sets", "cranfield"]),
    "quality": ("benchmarks.rag.quality", ["--limit", "100"]),
}
"""Name -> module, and what makes it short (``--quick``)."""

ON_DATA = ("embed", "search_quality", "quality")
"""Those that need ``--data``."""


def run(name: str, options: argparse.Namespace) -> list[Row] | None:
    """The rows of one benchmark, ``None`` if it failed."""
    module, short = BENCHMARKS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", module, "--json", str(path)]
        if options.rounds:
            command += ["--rounds", str(options.rounds)]
        if options.quick:
            command += short
        if name in ON_DATA:
            command += ["--data", str(options.data.resolve())]
        done = subprocess.run(
            command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL, env=environment()
        )
        if not path.exists():
            print(f"{name} failed with status {done.returncode}", file=sys.stderr)
            return None
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{field: row[field] for field in Row._fields}) for row in rows]


def environment() -> dict[str, str]:
    """One thread for linear algebra: waiting threads would be counted as CPU."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(threads, "1")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, help="default: that of each benchmark")
    parser.add_argument("--quick", action="store_true", help="fewer items: a look, not a claim")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help=f"folder of the data sets for {', '.join(ON_DATA)}"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    names = options.names or list(BENCHMARKS)
    if options.data is None:
        if wanting := set(options.names) & set(ON_DATA):
            parser.error(f"--data is needed for {', '.join(sorted(wanting))}")
        if not options.names:
            names = [name for name in names if name not in ON_DATA]
            print(f"left out without --data: {', '.join(ON_DATA)}", file=sys.stderr)
    rows: list[Row] = []
    failed = False
    started = time.strftime("%Y%m%dT%H%M%S")
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = run(name, options)
        failed = failed or found is None
        rows += found or []
    print_table(rows)
    path = ROOT / "benchmarks" / "results" / f"{started}.json"
    write_json(
        path,
        rows,
        started=started,
        python=platform.python_version(),
        cpus=os.cpu_count(),
        load=os.getloadavg(),
        quick=options.quick,
    )
    print(path)
    if failed or any(row.reaches(row.goal) is False for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
