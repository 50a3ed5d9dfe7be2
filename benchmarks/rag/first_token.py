"""The first streamed token of a pipeline that is running, against the bare clients.

    python -m benchmarks.rag.first_token [--rounds 5] [--questions 30] [--json PATH]

A question is put to a running pipeline (prompt, generator with ``stream``, a sink that is told
tokens) and, in turn, to the raw openai client and to raw aiohttp, each with its connection open.
Measured is the wall time from the question to its first token at the sink; a round is the median
over the questions. The server is ``sage.middleware.testing.model_server`` on loopback, in a process
of its own: 20 ms to the first token, 2 ms between two.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
from benchmarks.harness.rows import Row, run_as_script
from openai import OpenAI  # noqa: TID253 - what is measured

from sage.api import LocalEnvironment
from sage.lib.io.sink import CallbackSink
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.promptor import QAPromptor

DELAY, BETWEEN, TIMEOUT = 0.02, 0.002, 30.0
Ask = Callable[[str], float]
"""Asks a question, waits for the whole answer; seconds to the first token."""


@contextmanager
def model_server() -> Iterator[str]:
    command = [sys.executable, "-m", "sage.middleware.testing.model_server", "--port", "0"]
    options = ["--latency", str(DELAY), "--token-latency", str(BETWEEN)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def pipeline(url: str) -> Iterator[Ask]:
    questions: queue.Queue[str | None] = queue.Queue()
    tokens: queue.Queue[float] = queue.Queue()
    answers: queue.Queue[object] = queue.Queue()

    def source() -> Iterator[str]:
        while (question := questions.get()) is not None:
            yield question

    sink = {"callback": answers.put, "on_token": lambda *_: tokens.put(time.perf_counter())}
    model = {"model": "m", "base_url": url, "api_key": "x", "stream": True}
    env = LocalEnvironment("first_token")
    prompts = env.from_source(source).map(QAPromptor, {"template": "{query}"})
    prompts.map(OpenAIGenerator, model, concurrency=8).sink(CallbackSink, sink)
    job = env.submit()

    def ask(question: str) -> float:
        started = time.perf_counter()
        questions.put(question)
        answers.get(timeout=TIMEOUT)
        first = tokens.get(timeout=TIMEOUT)
        while not tokens.empty():
            tokens.get()
        return first - started

    try:
        yield ask
    finally:
        questions.put(None)
        job.wait()


@contextmanager
def raw_openai(url: str) -> Iterator[Ask]:
    with OpenAI(base_url=url, api_key="x") as client:

        def ask(question: str) -> float:
            started = time.perf_counter()
            first = 0.0
            message = {"role": "user", "content": question}
            for chunk in client.chat.completions.create(
                model="m",
                messages=[message],  # type: ignore[list-item]  # its TypedDicts
                stream=True,
                stream_options={"include_usage": True},
            ):
                if not first and chunk.choices and chunk.choices[0].delta.content:
                    first = time.perf_counter() - started
            return first

        yield ask


@contextmanager
def raw_aiohttp(url: str) -> Iterator[Ask]:
    import asyncio  # noqa: PLC0415 - this contender's

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def connect() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = asyncio.run_coroutine_threadsafe(connect(), loop).result(TIMEOUT)

    async def one(question: str) -> float:
        started = time.perf_counter()
        first = 0.0
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": question}]}
        async with session.post(url + "/chat/completions", json=body) as reply:
            async for line in reply.content:
                if first or not line.startswith(b"data: {"):
                    continue
                if json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    first = time.perf_counter() - started
        return first

    try:
        yield lambda question: asyncio.run_coroutine_threadsafe(one(question), loop).result(TIMEOUT)
    finally:
        asyncio.run_coroutine_threadsafe(session.close(), loop).result(TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def measure(options: argparse.Namespace) -> list[Row]:
    names = ("raw openai", "raw aiohttp", "pipeline")
    found: dict[str, list[float]] = {name: [] for name in names}
    with model_server() as url, raw_openai(url) as a, raw_aiohttp(url) as b, pipeline(url) as c:
        asks = dict(zip(names, (a, b, c), strict=True))
        for _ in range(options.rounds):
            times: dict[str, list[float]] = {name: [] for name in names}
            for number in range(options.questions):
                for name in names if number % 2 else names[::-1]:
                    times[name].append(asks[name](f"Say one two three, number {number}."))
            for name in names:
                # The first of a round may open a connection.
                found[name].append(statistics.median(times[name][1:]) * 1e3)
    more = [
        [ours - theirs for ours, theirs in zip(found["pipeline"], found[name], strict=True)]
        for name in names[:2]
    ]
    return [
        Row("first token", "pipeline - raw openai client, ms", more[0], 5.0),
        Row("first token", "pipeline - raw aiohttp, ms", more[1], 5.0),
        *(Row("first token", f"{name}, ms", found[name]) for name in names),
    ]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--questions", type=int, default=30)


if __name__ == "__main__":
    run_as_script(__doc__, measure, arguments=arguments)
