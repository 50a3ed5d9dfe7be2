"""One contender in a process of its own; prints one JSON object. Started by ``main_job``."""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.meters import Meter, peak_mb
from benchmarks.rag.job import Job


def run(contender: str, path: Path, url: str, in_flight: int) -> dict[str, Any]:
    cpu = time.process_time()
    module = importlib.import_module(f"benchmarks.rag.contenders.{contender}")
    imported = time.process_time() - cpu
    job = Job(path, url)
    questions = (
        job.questions if in_flight > 1 else job.questions[: max(50, len(job.questions) // 5)]
    )
    job.questions = questions[: max(8, in_flight)]
    module.answer(job, in_flight)  # imports on first use, connections, caches
    job.questions = questions
    with Meter() as meter:
        answers = module.answer(job, in_flight)
    if answers != [question + "." for question in questions]:
        raise RuntimeError(f"{contender}: wrong answers or wrong order")
    return {
        "import_cpu_s": imported,
        "wall_ms": meter.wall / len(questions) * 1e3,
        "cpu_ms": meter.cpu / len(questions) * 1e3,
        "queries_per_s": len(questions) / meter.wall,
        "peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender")
    parser.add_argument("job", type=Path)
    parser.add_argument("url")
    parser.add_argument("in_flight", type=int)
    options = parser.parse_args()
    print(json.dumps(run(options.contender, options.job, options.url, options.in_flight)))


if __name__ == "__main__":
    main()
