"""Rate limits: two job processes share one key, on a mixed load of short and long requests.

    python -m benchmarks.durability.limits [--rounds 3] [--seconds 20] [--json PATH]

The referee enforces tokens per minute as a provider does, but lets only ``--window`` seconds of the
limit be saved up (a provider: 60), so that every mistake shows as a 429. Measured: tokens answered
per allowed token while the load lasts (its first fifth and last tenth left out), and refusals per
call. Once with the limits in the settings, once with what the server's headers say.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.rows import Row, run_as_script

from sage.api import LocalEnvironment
from sage.lib.rag.generator.openai import OpenAIGenerator
from sage.middleware.testing.referee import Referee

ROOT = Path(__file__).resolve().parents[2]
WORDS = 1000
"""Most words of a long prompt."""
MEAN = 180.0
"""Tokens per request, roughly, to size a load."""


def requests(count: int, seed: int) -> list[dict[str, Any]]:
    """Four short requests (10 to 40 words, up to 20 tokens of answer) to one long one."""
    rng = random.Random(seed)
    made = []
    for n in range(count):
        long = rng.random() < 0.2
        words = rng.randint(WORDS // 5, WORDS) if long else rng.randint(10, 40)
        text = f"request {seed} {n} " + "lorem " * words
        made.append({"text": text, "max_tokens": rng.randint(50, 200) if long else 20})
    return made


class Mixed(OpenAIGenerator):
    """Asks with the bound that the item has."""

    async def execute(self, item: Any) -> Any:
        return await self._client.chat(
            [{"role": "user", "content": item["text"]}],
            model="m",
            max_tokens=item["max_tokens"],
        )


def job(url: str, count: int, seed: int, concurrency: int, tpm: float | None) -> None:
    """What one process does."""
    host = url.removeprefix("http://").removesuffix("/v1")
    config = {} if tpm is None else {"limits": {f"{host}/m": {"tpm": tpm}}}
    env = LocalEnvironment("limits", config)
    items = env.from_collection(requests(count, seed))
    generator = {"model": "m", "base_url": url, "api_key": "sk-shared", "max_retries": 20}
    items.map(Mixed, generator, concurrency=concurrency, ordered=False).sink(lambda _: None)
    env.submit().wait()


def measure(
    *, tpm: float, window: float, seconds: float, configured: bool, jobs: int = 2, seed: int = 1
) -> dict[str, Any]:
    """Run the processes; returns share of allowed tokens, share of 429s and the referee's sums."""
    count = max(20, int(tpm / 60 * seconds / MEAN / jobs))
    with (
        Referee(tpm=tpm, window=window, latency=0.05, token_latency=0.002) as referee,
        tempfile.TemporaryDirectory() as limits,
    ):
        environment = {**os.environ, "SAGE_LIMITS_DIR": limits, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.durability.limits", "--job", referee.url]
        given = str(tpm if configured else 0)
        processes = [
            subprocess.Popen(
                [*command, str(count), str(seed + n), given], env=environment, cwd=ROOT
            )
            for n in range(jobs)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError(f"a job process ended with {codes}")
        found, calls = referee.summary(), referee.calls()
    return {
        "tokens": steady_share(calls, tpm),
        "refused": found["statuses"].get("429", 0) / found["calls"],
        "expected": count * jobs,
        **found,
    }


def steady_share(calls: list[dict[str, Any]], tpm: float) -> float:
    """Tokens of the calls that began while the load lasted, per token that was allowed then."""
    answered = [call for call in calls if call["status"] == 200]
    first, last = answered[0]["at"], answered[-1]["at"]
    begin, end = first + (last - first) * 0.2, last - (last - first) * 0.1
    used = sum(
        call["input_tokens"] + call["output_tokens"]
        for call in answered
        if begin <= call["at"] < end
    )
    return float(used / ((end - begin) * tpm / 60))


def rows(options: argparse.Namespace) -> list[Row]:
    """The claims."""
    made = []
    for configured in (True, False):
        work = f"limits {'configured' if configured else 'of the headers'}"
        rounds = [
            measure(
                tpm=options.tpm,
                window=options.window,
                seconds=options.seconds,
                configured=configured,
                seed=100 * n,
            )
            for n in range(options.rounds)
        ]
        for one in rounds:
            print(json.dumps(one), file=sys.stderr)
        note = f"{options.tpm:.0f} tokens per minute, {options.window:g} s of them at once"
        shares = [one["tokens"] for one in rounds]
        made.append(Row(work, "tokens per allowed token", shares, 0.95, None, True, note))
        refused = [one["refused"] for one in rounds]
        made.append(Row(work, "refusals (429) per call", refused, 0.005, 0.0, note=note))
    return made


def main() -> None:
    if sys.argv[1:2] == ["--job"]:
        url, count, seed, tpm = sys.argv[2:]
        job(url, int(count), int(seed), 24, float(tpm) or None)
        return
    run_as_script(__doc__, rows, rounds=3, arguments=add)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a load lasts")
    parser.add_argument("--tpm", type=float, default=300_000.0, help="tokens per minute")
    parser.add_argument("--window", type=float, default=6.0, help="seconds saved up at most")


if __name__ == "__main__":
    main()
