"""How a program ends: it waits for its jobs, Ctrl-C cancels them, failures are not silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest


def program(text):
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error::RuntimeWarning", "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(process):
    with process:
        try:
            return process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def test_the_interpreter_waits_for_jobs():
    process = program("""
        import os, threading, time
        from sage.api import LocalEnvironment
        def say(x):
            os.write(1, f"{x}\\n".encode())  # whole lines, also from two threads
        end = threading.Event()
        def source():
            yield 1
            end.wait()
            for _ in range(100):
                time.sleep(0.002)
            yield 2
        env = LocalEnvironment("app")
        env.from_source(source).map(lambda x: x * 10).sink(say)
        env.submit()
        say("main ends")
        end.set()
    """)
    out, err = finish(process)
    assert process.returncode == 0, err
    assert sorted(out.split("\n")) == ["", "10", "20", "main ends"]


@pytest.mark.parametrize(
    "call", ["loop.run_in_executor(None, abs, -x)", "asyncio.to_thread(abs, -x)"]
)
def test_async_steps_may_still_use_the_executor(call):
    process = program(f"""
        import asyncio, threading
        from sage.api import LocalEnvironment
        async def step(x):
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.05)
            await loop.getaddrinfo("127.0.0.1", 80)
            return await {call}
        env = LocalEnvironment("app")
        env.from_source(range(1, 6)).map(step, concurrency=1).sink(print)
        env.submit()
    """)
    out, err = finish(process)
    assert process.returncode == 0, err
    assert out.split() == ["1", "2", "3", "4", "5"]
    assert not err


def test_a_failure_that_nobody_saw_is_shown():
    process = program("""
        from sage.api import LocalEnvironment
        env = LocalEnvironment("app")
        env.from_source([1]).map(lambda x: 1 / 0, name="divide").sink(print)
        env.submit()
    """)
    _, err = finish(process)
    assert "ZeroDivisionError" in err
    assert "divide" in err
    assert "TaskFailedError" in err


def test_a_failure_that_was_seen_is_shown_once():
    process = program("""
        from sage.api import LocalEnvironment
        env = LocalEnvironment("app")
        env.from_source([1]).map(lambda x: 1 / 0).sink(print)
        try:
            env.submit().wait()
        except Exception as error:
            print("seen", type(error).__name__)
    """)
    out, err = finish(process)
    assert process.returncode == 0
    assert out.strip() == "seen TaskFailedError"
    assert not err


@pytest.mark.parametrize("where", ["wait", "exit"])
def test_ctrl_c(where):
    process = program(f"""
        import time
        from sage.api import LocalEnvironment, MapFunction
        class Step(MapFunction):
            def execute(self, x):
                if x == 100:
                    print("running", flush=True)
                return x
            def close(self):
                print("closed", flush=True)
        def source():
            x = 0
            while True:
                yield x
                x += 1
        env = LocalEnvironment("app")
        env.from_source(source).map(Step).sink(lambda x: None)
        job = env.submit()
        if {where == "wait"}:
            try:
                job.wait()
            except KeyboardInterrupt:
                print("interrupted", job.status)
    """)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert "closed" in out
    if where == "wait":
        assert "interrupted" in out
        assert process.returncode == 0, err
