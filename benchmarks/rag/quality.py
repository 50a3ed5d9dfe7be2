"""What ``sage eval run`` says on open data: nDCG@10 of the retrievers, F1 and EM of quoted answers.

    python -m benchmarks.rag.quality --data DIR [--sets squad2 ...] [--limit 200]

``DIR`` holds the folders ``cranfield``, ``squad2`` and ``locomo_open``. Every run has the settings
of the built-in pipelines; questions of ``locomo_open`` search their own conversation. With
``--limit`` nothing is claimed: the goals are for all questions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.rows import Row, run_as_script

SAGE = Path(sys.executable).with_name("sage")
NDCG = {"cranfield": (0.425, 0.430), "squad2": (0.905, 0.915), "locomo_open": (0.51, 0.540)}
ANSWERS = {"f1": (29.0, 33.0), "em": (20.0, 24.0)}
FLAGS = {"squad2": ["--answerable"], "locomo_open": ["--scope", "conversation"]}
LOSS = 0.002
"""How much less than the better of the two that it fuses hybrid search may be worth."""


def evaluate(
    pipeline: str, name: str, metrics: str, options: argparse.Namespace, work: Path
) -> dict[str, float]:
    """The means of the metrics."""
    command = [str(SAGE), "eval", "run", pipeline]
    command += ["--dataset", str(options.data / name), "--metrics", metrics, "--json"]
    command += ["--out", str(work / f"{pipeline}-{name}"), "--data-dir", str(work / "indexes")]
    command += [*FLAGS.get(name, ()), *(["--limit", str(options.limit)] if options.limit else ())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    scores = json.loads(done.stdout)["scores"]
    return {metric: float(scores[metric]["mean"]) for metric in metrics.split(",")}


def measure(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    note = f"the first {options.limit} questions" if options.limit else ""
    rows = []

    def add(work: str, what: str, value: float, must: float, stretch: float | None) -> None:
        goals = (None, None) if options.limit else (must, stretch)
        rows.append(Row(work, what, [value], *goals, at_least=True, note=note))

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in options.sets:
            found = {
                method: evaluate(f"retrieval-{method}", name, "ndcg@10", options, work)["ndcg@10"]
                for method in ("bm25", "dense", "hybrid")
            }
            better = max(found["bm25"], found["dense"])
            add(name, "hybrid, nDCG@10", found["hybrid"], *NDCG[name])
            add(name, "hybrid - better single", found["hybrid"] - better, -LOSS, None)
            if name == "squad2":
                scores = evaluate("extractive", name, ",".join(ANSWERS), options, work)
                for metric, goals in ANSWERS.items():
                    add(name, f"extractive, {metric}, %", 100 * scores[metric], *goals)
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(NDCG), choices=list(NDCG))
    parser.add_argument("--limit", type=int, help="only so many questions of each set")


if __name__ == "__main__":
    run_as_script(__doc__, measure, rounds=1, arguments=arguments)
