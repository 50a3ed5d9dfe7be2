"""The main job, retrieval-augmented question answering, against the bare clients.

    python -m benchmarks.rag.main_job [--rounds 5] [--questions 500] [--data DIR] [--json PATH]

Every contender answers the same questions with the same vectors, prompt, k = 5 and model server (on
loopback, 20 ms): a fifth of them one at a time, and all with 64 in flight, each time in a process
of its own; a round runs all of them in turn. CPU is that of the client's process after its imports
and a warm-up; indexing the paragraphs counts, since it is part of a job's start. See ``job.py`` for
the data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.harness.meters import ratios
from benchmarks.harness.model_server import ModelServerProcess
from benchmarks.harness.rows import Row, run_as_script
from benchmarks.rag.job import write_job

CONTENDERS = ("raw_openai", "raw_aiohttp", "pipeline")
IN_FLIGHT = 64
DELAY = 0.02
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
ENVIRONMENT = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
"""Threads of a linear algebra library that wait for each other would be counted as CPU."""


def user_lines() -> int:
    """Lines of code, with imports, between the marks of the pipeline."""
    text = (Path(__file__).parent / "contenders" / "pipeline.py").read_text(encoding="utf-8")
    code = text.split("# --- user code\n")[1].split("# --- end")[0]
    return sum(1 for line in code.splitlines() if line.strip() and not line.startswith("#"))


def run(contender: str, job: Path, server: ModelServerProcess, in_flight: int) -> dict[str, float]:
    server.stats(reset=True)
    command = [sys.executable, "-m", "benchmarks.rag.worker", contender, str(job), server.url]
    done = subprocess.run(
        [*command, str(in_flight)],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise RuntimeError(f"{contender}, {in_flight} in flight: status {done.returncode}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    result["most_in_flight"] = server.stats()["most_in_flight"]
    return result


def measure(options: argparse.Namespace) -> list[Row]:
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ModelServerProcess(DELAY) as server:
        job = Path(folder) / "job.npz"
        write_job(job, options.data, options.questions)
        for number in range(options.rounds):
            order = CONTENDERS if number % 2 else CONTENDERS[::-1]
            for in_flight in (1, IN_FLIGHT):
                for contender in order:
                    for key, value in run(contender, job, server, in_flight).items():
                        found[contender, in_flight, key].append(value)
    rows = []
    for in_flight, name in ((1, "one at a time"), (IN_FLIGHT, f"{IN_FLIGHT} in flight")):
        ours = found["pipeline", in_flight, "cpu_ms"]
        openai = found["raw_openai", in_flight, "cpu_ms"]
        aiohttp = found["raw_aiohttp", in_flight, "cpu_ms"]
        work = f"main job, {name}"
        rows += [
            Row(work, "CPU / raw openai client", ratios(ours, openai), 1.5),
            Row(work, "CPU per query, ms", ours, None, 2.5),
            Row(work, "CPU per query, raw openai, ms", openai),
            Row(work, "CPU per query, raw aiohttp, ms", aiohttp),
        ]
    rate = [found[contender, IN_FLIGHT, "queries_per_s"] for contender in CONTENDERS]
    work = f"main job, {IN_FLIGHT} in flight"
    note = ", ".join(
        f"{contender} {statistics.median(values):.0f}/s"
        for contender, values in zip(CONTENDERS, rate, strict=True)
    )
    most = max(found["pipeline", IN_FLIGHT, "most_in_flight"])
    rows += [
        Row(
            work, "q/s / raw aiohttp client", ratios(rate[2], rate[1]), 0.6, at_least=True
        )._replace(note=f"{note}; the server saw {most:.0f} in flight"),
        Row(work, "peak memory, MiB", found["pipeline", IN_FLIGHT, "peak_mb"], 110),
        Row(work, "peak memory, raw openai, MiB", found["raw_openai", IN_FLIGHT, "peak_mb"]),
        Row(work, "import CPU, s", found["pipeline", IN_FLIGHT, "import_cpu_s"]),
        Row("main job", "user lines with imports", [user_lines()], 12),
    ]
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--data", type=Path, help="folder with corpus.jsonl and queries.jsonl")


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
