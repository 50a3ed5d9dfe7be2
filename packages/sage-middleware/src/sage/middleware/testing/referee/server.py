"""The referee as an HTTP server.

Besides the API: ``GET /control/summary``, ``GET /control/calls?since=N``, ``GET
/control/wait?calls=N`` (answers once so many calls have come; ``answered=N``: were worked on;
``distinct=N``: different ones) and ``POST /control/reset``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import struct
import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from sage.middleware.testing.model_server import (
    content_of,
    count_tokens,
    drop,
    error_reply,
    json_reply,
    stream_reply,
)
from sage.middleware.testing.referee.rules import Allowance, Books, Call, answer_of, vector_of
from sage.middleware.testing.referee.settings import RefereeSettings

DEFAULT_OUTPUT = 64
"""Output tokens at most, of a request that does not bound them."""


class RefereeServer:
    """See the package.

    Attributes:
        url: Base URL, ends in ``/v1``; known once it serves.
    """

    def __init__(self, settings: RefereeSettings, port: int = 0) -> None:
        self._settings = settings
        self._port = port
        self._books = Books(settings)
        self._allowances: dict[tuple[str, str], list[tuple[str, Allowance]]] = {}
        self._changed = asyncio.Condition()
        self._in_flight = self._most_in_flight = 0
        self.url = ""

    async def serve(self, ready: Callable[[], object], stop: asyncio.Event) -> None:
        """Serve on the running loop until ``stop``; ``ready`` is called once ``url`` is known."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/control/summary", self._summary)
        app.router.add_get("/control/calls", self._calls)
        app.router.add_get("/control/wait", self._wait)
        app.router.add_post("/control/reset", self._reset)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready()
        try:
            await stop.wait()
        finally:
            await runner.cleanup()

    # ------------------------------------------------------------------ control

    async def _models(self, _: web.Request) -> web.Response:
        names = [name for name in self._settings.prices if name != "*"] or ["test-model"]
        data = [{"id": name, "object": "model"} for name in names]
        return json_reply({"object": "list", "data": data})

    async def _summary(self, _: web.Request) -> web.Response:
        return json_reply(self._sums())

    def _sums(self) -> dict[str, Any]:
        flights = {"in_flight": self._in_flight, "most_in_flight": self._most_in_flight}
        return {**self._books.summary(), **flights}

    async def _calls(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return json_reply([call.plain() for call in self._books.calls[since:]])

    async def _wait(self, request: web.Request) -> web.Response:
        calls = int(request.query.get("calls", "0"))
        answered = int(request.query.get("answered", "0"))
        distinct = int(request.query.get("distinct", "0"))
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    len(self._books.calls) >= calls
                    and self._books.answered >= answered
                    and self._books.distinct >= distinct
                )
            )
        return json_reply(self._sums())

    async def _reset(self, _: web.Request) -> web.Response:
        sums = self._sums()
        self._books = Books(self._settings)
        self._allowances.clear()
        self._most_in_flight = self._in_flight
        return json_reply(sums)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------------ the API

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, "chat", self._complete)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, "embeddings", self._embed)

    async def _counted(self, request: web.Request, kind: str, work: Any) -> web.StreamResponse:
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            return await self._judge(request, kind, work)
        finally:
            self._in_flight -= 1

    async def _judge(self, request: web.Request, kind: str, work: Any) -> web.StreamResponse:
        body = await request.read()
        try:
            payload = orjson.loads(body)
            model = str(payload["model"])
            texts = _texts(payload, kind)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return error_reply(400, f"the body is no request for {kind}")
        settings, books = self._settings, self._books
        call = Call(
            len(books.calls), time.time(), kind, model, hashlib.sha256(body).hexdigest()[:32]
        )
        call.idempotency_key = request.headers.get("Idempotency-Key")
        authorization = request.headers.get("Authorization", "")
        fault = books.came(call)
        await self._tell()
        if settings.api_key and authorization != f"Bearer {settings.api_key}":
            return self._refuse(books, call, 401, "wrong API key", "invalid_api_key", {})
        call.input_tokens = sum(map(count_tokens, texts))
        most = payload.get("max_completion_tokens") or payload.get("max_tokens")
        bound = (most or DEFAULT_OUTPUT) if kind == "chat" else 0
        gauges = self._gauges(authorization, model)
        units = {"requests": 1.0, "tokens": float(call.input_tokens + bound)}
        now = time.monotonic()
        wait = max((gauge.lacking(units[name], now) for name, gauge in gauges), default=0.0)
        if wait > 0:
            return self._over_limit(books, call, gauges, units, wait)
        for name, gauge in gauges:
            gauge.take(units[name])
        headers = {k: v for name, gauge in gauges for k, v in gauge.headers(name).items()}
        if fault.isdigit():
            if fault in ("429", "503"):
                headers |= _retry_after(settings.retry_after)
            for name, gauge in gauges:
                if name == "tokens":
                    gauge.take(-units[name])
            code = "rate_limit_exceeded" if fault == "429" else ""
            return self._refuse(books, call, int(fault), f"injected {fault}", code, headers)
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "drop":
            books.ended(call, None)
            return drop(request)
        answer = work(call, payload, texts, bound)
        latency = settings.latency * (10 if fault == "slow" else 1)
        await asyncio.sleep(latency + settings.token_latency * call.output_tokens)
        books.worked(call)
        for name, gauge in gauges:
            if name == "tokens":
                gauge.take(call.input_tokens + call.output_tokens - units[name])
        await self._tell()
        if fault == "drop_after":
            books.ended(call, None)
            return drop(request)
        books.ended(call, 200)
        if fault == "garbage":
            return web.Response(body=b'{"choices": [{"mess', content_type="application/json")
        if payload.get("stream"):
            return await self._stream(request, payload, answer)
        return json_reply(answer, headers=headers)

    async def _stream(
        self, request: web.Request, payload: dict[str, Any], answer: dict[str, Any]
    ) -> web.StreamResponse:
        message = answer["choices"][0]["message"]
        words = message["content"].split(" ")
        pieces = [words[0], *(f" {word}" for word in words[1:])]
        asked = (payload.get("stream_options") or {}).get("include_usage")
        base = {name: answer[name] for name in ("id", "created", "model")}
        usage = answer["usage"] if asked else None
        return await stream_reply(request, base, {}, pieces, "stop", usage)

    def _complete(
        self, call: Call, payload: dict[str, Any], texts: list[str], bound: int
    ) -> dict[str, Any]:
        text = answer_of("\n".join(texts), bound, self._settings.seed)
        call.output_tokens = count_tokens(text)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        return {
            "id": f"chatcmpl-{call.body[:12]}",
            "object": "chat.completion",
            "created": 0,
            "model": call.model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": call.input_tokens,
                "completion_tokens": call.output_tokens,
                "total_tokens": call.input_tokens + call.output_tokens,
            },
        }

    def _embed(
        self, call: Call, payload: dict[str, Any], texts: list[str], bound: int
    ) -> dict[str, Any]:
        length = int(payload.get("dimensions") or self._settings.dimensions)
        vectors: list[Any] = [vector_of(text, length) for text in texts]
        if payload.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{length}f", *v)).decode() for v in vectors]
        return {
            "object": "list",
            "model": call.model,
            "data": [
                {"object": "embedding", "index": n, "embedding": vector}
                for n, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": call.input_tokens, "total_tokens": call.input_tokens},
        }

    def _gauges(self, key: str, model: str) -> list[tuple[str, Allowance]]:
        if (key, model) not in self._allowances:
            settings = self._settings
            self._allowances[key, model] = [
                (name, Allowance(limit, settings.window))
                for name, limit in (("requests", settings.rpm), ("tokens", settings.tpm))
                if limit is not None
            ]
        return self._allowances[key, model]

    def _over_limit(
        self,
        books: Books,
        call: Call,
        gauges: list[tuple[str, Allowance]],
        units: dict[str, float],
        wait: float,
    ) -> web.Response:
        call.fault = "limit"
        asked = ", ".join(
            f"{units[name]:.0f} of {gauge.limit:.0f} {name}" for name, gauge in gauges
        )
        headers = {k: v for name, gauge in gauges for k, v in gauge.headers(name).items()}
        if math.isinf(wait):
            message = f"request too large for {call.model}: asked for {asked} per minute"
        else:
            message = f"rate limit reached for {call.model}: asked for {asked} per minute"
            headers |= _retry_after(wait)
        return self._refuse(books, call, 429, message, "rate_limit_exceeded", headers)

    def _refuse(
        self,
        books: Books,
        call: Call,
        status: int,
        message: str,
        code: str,
        headers: dict[str, str],
    ) -> web.Response:
        books.ended(call, status)
        return error_reply(status, message, code=code, headers=headers)


def _retry_after(seconds: float) -> dict[str, str]:
    return {
        "Retry-After": str(math.ceil(seconds)),
        "Retry-After-Ms": f"{math.ceil(seconds * 1000)}",
    }


def _texts(payload: dict[str, Any], kind: str) -> list[str]:
    if kind == "chat":
        return [content_of(message) for message in payload["messages"]]
    given = payload["input"]
    return [given] if isinstance(given, str) else [str(text) for text in given]
