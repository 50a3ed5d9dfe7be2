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
            loop.slow_callback_duration = 60  # the debug mode warns of a busy machine
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


ENDLESS = """
    import signal, sys, threading, time
    from sage.api import LocalEnvironment, MapFunction
    running = threading.Event()
    class Step(MapFunction):
        def execute(self, x):
            if x == 100:
                running.set()
            return x
        def close(self):
            print("closed", flush=True)
    def source():
        x = 0
        while True:
            yield x
            x += 1
    def tell_when_main_is_in(function, file):
        main = threading.main_thread().ident
        def look():
            running.wait()
            while True:
                frame = sys._current_frames()[main]
                while frame and (frame.f_code.co_name, frame.f_code.co_filename) != place:
                    frame, inner = frame.f_back, frame
                if frame and inner.f_code.co_filename == threading.__file__:
                    print("running", flush=True)
                    return
                time.sleep(0.001)
        place = function, sys.modules[file].__file__
        threading.Thread(target=look, daemon=True).start()
    env = LocalEnvironment("app", config={"fusion": False})
    env.from_source(source).map(Step).sink(lambda x: None)
"""


def program_that_runs_endlessly(text):
    return program(textwrap.dedent(ENDLESS) + textwrap.dedent(text))


def test_ctrl_c_in_wait():
    process = program_that_runs_endlessly("""
        job = env.submit()
        tell_when_main_is_in("wait", "sage.kernel.runtime.job")
        try:
            job.wait()
        except KeyboardInterrupt:
            print("interrupted", job.status)
    """)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert out.split("\n") == ["closed", "interrupted CANCELED", ""]
    assert process.returncode == 0, err


def test_ctrl_c_at_the_end():
    process = program_that_runs_endlessly("""
        env.submit()
        tell_when_main_is_in("_wait", "sage.kernel.runtime.exit")
    """)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert out == "closed\n", err


@pytest.mark.parametrize("place", ["listener", "before a thread", "after a thread"])
def test_ctrl_c_in_submit(place):
    process = program_that_runs_endlessly(f"""
        from sage.api import local_environment
        def interrupt(*_):
            signal.raise_signal(signal.SIGINT)
        class Thread(threading.Thread):
            def start(self):
                second = self.name == "sage-app-1"
                if second and {place == "before a thread"}:
                    interrupt()
                super().start()
                if second and {place == "after a thread"}:
                    interrupt()
        threading.Thread = Thread
        if {place == "listener"}:
            local_environment.on_submit.append(interrupt)
        try:
            env.submit()
        except KeyboardInterrupt:
            while threading.active_count() > 1:
                time.sleep(0.001)
            print("interrupted")
    """)
    out, err = finish(process)
    lines = out.splitlines()
    assert lines[-1] == "interrupted", err
    assert lines[:-1] == ([] if place == "before a thread" else ["closed"])
    assert process.returncode == 0, err
