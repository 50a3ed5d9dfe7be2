"""An OpenAI-compatible chat server on loopback, with latency, streaming and faults on demand.

In a test, a thread of its own::

    with ModelServer(latency=0.02, faults=["429", "drop"]) as server:
        client = OpenAIClient(server.url)

As a process of its own: ``python -m sage.middleware.testing.model_server --port 0`` prints its base
URL and serves until it is ended; ``GET /stats`` and ``POST /faults`` stand in for the attributes.

The server answers with the sentence of the prompt that shares most words with its question.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import orjson
from aiohttp import web

FAULTS = ("ok", "hang", "drop", "drop_mid", "garbage", "empty", "slow")
"""Faults besides HTTP statuses such as ``"429"``.

``drop`` closes without an answer, ``drop_mid`` in the middle of it, ``garbage`` is 200 with broken
JSON, ``empty`` has no content, ``slow`` takes ten times the latency, ``hang`` never answers.
"""


class Call:
    """One request as the server saw it.

    Attributes:
        at: When it came, monotonic seconds.
        request: Its JSON body.
        fault: The fault it met, or ``ok``.
        headers: By lower-case name.
    """

    __slots__ = ("at", "fault", "headers", "request")

    def __init__(self, request: dict[str, Any], fault: str, headers: dict[str, str]) -> None:
        self.at = time.monotonic()
        self.request = request
        self.fault = fault
        self.headers = headers


class ModelServer:
    """The server; a context manager that runs it in a thread.

    Args:
        latency: Seconds before an answer (or the first token) starts.
        token_latency: Seconds between two streamed tokens.
        answer: ``request -> text`` or ``request -> message dict``; default: see the module.
        faults: One entry used up per request, in order: a status or one of ``FAULTS``.
        retry_after: What 429 and 503 say, in seconds.
        api_key: When set, requests without it get 401.
        together: No answer before this many requests are in flight at once.

    Attributes:
        url: Base URL, ends in ``/v1``.
        calls: The requests so far.
        in_flight, max_in_flight: Requests being answered now, and at most so far.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        token_latency: float = 0.0,
        answer: Callable[[dict[str, Any]], Any] | None = None,
        faults: Iterable[str] = (),
        retry_after: float = 0.05,
        api_key: str | None = None,
        together: int = 1,
        port: int = 0,
    ) -> None:
        self.together = together
        self._gathered: asyncio.Event | None = None
        self.latency = latency
        self.token_latency = token_latency
        self.answer = answer or best_sentence
        self.faults: deque[str] = deque()
        self.push(*faults)
        self.retry_after = retry_after
        self.api_key = api_key
        self.calls: list[Call] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.url = ""
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """Requests so far."""
        return len(self.calls)

    def push(self, *faults: str) -> None:
        """Add faults for the next requests."""
        for fault in faults:
            if fault not in FAULTS and not (fault.isdigit() and 300 <= int(fault) < 600):
                raise ValueError(
                    f"unknown fault {fault!r}; expected a status such as '429' or one of "
                    f"{', '.join(FAULTS)}"
                )
            self.faults.append(fault)

    def __enter__(self) -> Self:
        started = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self.serve(started.set))
            except BaseException as error:  # noqa: BLE001 - raised again by __enter__
                failure.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=run, name="model-server", daemon=True)
        self._thread.start()
        started.wait()
        if failure:
            raise failure[0]
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(timeout=10)

    async def serve(self, ready: Callable[[], object]) -> None:
        """Serve on the running loop until stopped; ``ready`` is called once ``url`` is known."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        app.router.add_post("/faults", self._push)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/v1"
        ready()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return json_reply({"object": "list", "data": [{"id": "test-model", "object": "model"}]})

    async def _stats(self, _: web.Request) -> web.Response:
        return json_reply(
            {
                "requests": self.count,
                "in_flight": self.in_flight,
                "max_in_flight": self.max_in_flight,
                "faults_left": len(self.faults),
            }
        )

    async def _push(self, request: web.Request) -> web.Response:
        try:
            self.push(*orjson.loads(await request.read()))
        except (ValueError, TypeError) as error:
            return error_reply(400, str(error))
        return json_reply({"faults_left": len(self.faults)})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if self._gathered is None:
            self._gathered = asyncio.Event()
        if self.in_flight >= self.together:
            self._gathered.set()
        try:
            await self._gathered.wait()
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self.faults.popleft() if self.faults else "ok"
        try:
            payload = orjson.loads(body)
            messages = payload["messages"]
            prompt = "\n".join(content_of(message) for message in messages)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return error_reply(400, "the body is no chat request")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Call(payload, fault, headers))
        if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
            return error_reply(401, "wrong API key", code="invalid_api_key")
        if fault.isdigit():
            wait = {"Retry-After": f"{self.retry_after:g}"} if fault in ("429", "503") else {}
            return error_reply(int(fault), f"injected {fault}", headers=wait)
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "drop":
            return drop(request)
        await asyncio.sleep(self.latency * (10 if fault == "slow" else 1))
        if fault == "garbage":
            return web.Response(body=b'{"choices": [{"mess', content_type="application/json")
        message = {"content": ""} if fault == "empty" else self.answer(payload)
        if isinstance(message, str):
            message = {"content": message}
        usage = {
            "prompt_tokens": count_tokens(prompt) + 4 * len(messages),
            "completion_tokens": count_tokens(message.get("content") or ""),
        }
        usage["total_tokens"] = sum(usage.values())
        limit = payload.get("max_completion_tokens") or payload.get("max_tokens")
        pieces = re.findall(r"\s*\S+|\s+$", message.get("content") or "")
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        if limit and len(pieces) > limit:
            pieces, reason = pieces[:limit], "length"
        base = {"id": f"chatcmpl-{self.count}", "created": 0, "model": payload.get("model", "")}
        if payload.get("stream"):
            asked = (payload.get("stream_options") or {}).get("include_usage")
            return await stream_reply(
                request,
                base,
                message,
                pieces,
                reason,
                usage if asked else None,
                token_latency=self.token_latency,
                breaks=fault == "drop_mid",
            )
        if fault == "drop_mid":
            response = web.StreamResponse(headers={"Content-Length": "4096"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
            return drop(request)
        whole = {"role": "assistant", **message, "content": "".join(pieces) or None}
        choice = {"index": 0, "finish_reason": reason, "message": whole}
        return json_reply(
            {**base, "object": "chat.completion", "usage": usage, "choices": [choice]}
        )


async def stream_reply(
    request: web.Request,
    base: Mapping[str, Any],
    message: Mapping[str, Any],
    pieces: list[str],
    reason: str,
    usage: Mapping[str, int] | None,
    *,
    token_latency: float = 0.0,
    breaks: bool = False,
) -> web.StreamResponse:
    """Send a completion as server-sent events.

    Args:
        base: Fields of every event.
        message: Its ``tool_calls`` come after the pieces.
        pieces: The text.
        reason: ``finish_reason``.
        usage: Sent at the end, where it was asked for.
        token_latency: Seconds between two pieces.
        breaks: Drop the connection after half of them.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def event(delta: Mapping[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = {**base, "object": "chat.completion.chunk", "choices": [choice]}
        await response.write(b"data: " + orjson.dumps(data) + b"\n\n")

    await event({"role": "assistant", "content": ""})
    for n, piece in enumerate(pieces):
        if breaks and n >= len(pieces) // 2:
            return drop(request)
        await event({"content": piece})
        if token_latency:
            await asyncio.sleep(token_latency)
    for n, call in enumerate(message.get("tool_calls") or ()):
        await event({"tool_calls": [{"index": n, **call}]})
    await event({}, reason)
    if usage is not None:
        data = {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        await response.write(b"data: " + orjson.dumps(data) + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def best_sentence(request: dict[str, Any]) -> str:
    """The sentence of the last message that shares most words with the question in it.

    The question is the text after the last ``Question:``, else the last line.
    """
    text = content_of(request["messages"][-1])
    before, mark, after = text.rpartition("Question:")
    question = (after if mark else text).strip().splitlines()[0] if text.strip() else ""
    asked = set(re.findall(r"\w+", question.lower()))
    found = ("I do not know.", 0)
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", before):
        shared = len(asked & set(re.findall(r"\w+", sentence.lower())))
        if shared > found[1]:
            found = (sentence.strip(), shared)
    return found[0]


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a chat message."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def count_tokens(text: str) -> int:
    """Words and marks of ``text``."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def json_reply(
    data: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with JSON."""
    return web.Response(
        body=orjson.dumps(data), status=status, headers=headers, content_type="application/json"
    )


def error_reply(
    status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with an error object as the API has it."""
    return json_reply({"error": {"message": message, "code": code or None}}, status, headers)


def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


def main() -> None:
    """Run the server in the foreground."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible test server on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before an answer")
    parser.add_argument("--token-latency", type=float, default=0.0, help="seconds between tokens")
    parser.add_argument("--fault", action="append", default=[], help="one per request, in order")
    options = parser.parse_args()
    server = ModelServer(
        port=options.port,
        latency=options.latency,
        token_latency=options.token_latency,
        faults=options.fault,
    )
    try:
        asyncio.run(server.serve(lambda: print(server.url, flush=True)))  # noqa: T201
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
