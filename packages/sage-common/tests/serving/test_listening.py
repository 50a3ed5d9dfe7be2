"""A server ends at the first signal, whenever it comes."""

import signal
import subprocess
import sys

import pytest

pytest.importorskip("uvicorn")

PROGRAM = """
import signal, sys
from sage.common.serving.listening import Address, serve


async def app(scope, receive, send):
    raise NotImplementedError


class Finalized:
    "What a signal handler raises in here is swallowed."

    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))


def ready(url):
    if sys.argv[2] == "at once":
        signal.raise_signal(int(sys.argv[1]))
    elif sys.argv[2] == "in a finalizer":
        Finalized()
    print("ready", flush=True)


serve(app, Address(), ready)
print("went on", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["at once", "in a finalizer", "when it serves"])
def test_a_signal_is_never_lost(number, when):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(int(number)), when],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        if when == "when it serves":
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert out == ""
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT), err
