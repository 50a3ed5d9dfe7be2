"""A model server on loopback that costs as little as Python allows: for measuring clients.

Bytes in, bytes out on an ``asyncio.Protocol`` (uvloop where installed), in a process of its own, so
that the machine's other core is left to what is measured. Every chat completion is answered after a
fixed delay with the question of the prompt (the text after its last ``Question: ``) and a full
stop. The server that tests use (``sage.middleware.testing.model_server``) has streams and faults,
and costs several times as much per call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

import orjson

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Counts:
    """Requests so far, answered now, and at most answered at once."""

    requests = 0
    in_flight = 0
    most = 0


class Connection(asyncio.Protocol):
    """One client connection: requests one after another, each with ``Content-Length``."""

    def __init__(self, delay: float, counts: Counts) -> None:
        self.delay = delay
        self.counts = counts
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            size, at = 0, head.lower().find(b"content-length:")
            if at >= 0:
                size = int(head[at + 15 :].split(b"\r\n", 1)[0])
            whole = end + 4 + size
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self.request(head, body)

    def request(self, head: bytes, body: bytes) -> None:
        counts = self.counts
        if head.startswith(b"GET /reset"):
            counts.requests = counts.most = 0
        if head.startswith(b"GET"):
            stats = {"requests": counts.requests, "most_in_flight": counts.most}
            self.send(orjson.dumps(stats))
            return
        counts.requests += 1
        counts.in_flight += 1
        counts.most = max(counts.most, counts.in_flight)
        self.loop.call_later(self.delay, self.answer, body)

    def answer(self, body: bytes) -> None:
        self.counts.in_flight -= 1
        request = orjson.loads(body)
        prompt = request["messages"][-1]["content"]
        text = prompt.rpartition("Question: ")[2].partition("\n")[0] + "."
        reply = {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "logprobs": None,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                }
            ],
            "usage": {
                "prompt_tokens": len(prompt) // 4,
                "completion_tokens": len(text) // 4,
                "total_tokens": (len(prompt) + len(text)) // 4,
            },
        }
        self.send(orjson.dumps(reply))

    def send(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(HEAD % len(body) + body)


async def serve(port: int, delay: float) -> None:
    """Serve until the process ends; prints the base URL once it is up."""
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(delay, counts), "127.0.0.1", port, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


class ModelServerProcess:
    """The server in its own process, for the time of a ``with`` block.

    Args:
        delay: Seconds before each answer.

    Attributes:
        url: Base URL, ends in ``/v1``.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--delay", str(self.delay)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url:
            raise RuntimeError(f"the model server did not start: status {self.process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.terminate()
        self.process.communicate()

    def stats(self, *, reset: bool = False) -> dict[str, int]:
        """``requests`` and ``most_in_flight`` since the last reset."""
        url = self.url.removesuffix("/v1") + ("/reset" if reset else "/stats")
        with urllib.request.urlopen(url, timeout=10) as reply:
            stats: dict[str, int] = json.load(reply)
        return stats


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before an answer")
    options = parser.parse_args()
    try:
        import uvloop  # noqa: PLC0415 - optional

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    try:
        run(serve(options.port, options.delay))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
