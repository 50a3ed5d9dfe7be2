"""A thin client for any OpenAI-compatible server: aiohttp and orjson, bytes in and out.

There is no limit on the calls in flight: the caller's concurrency is the limit. One client works
on any number of event loops.

Predecessor: ``sage.middleware.models.chat``; successor: ``sage.lib.rag.generator``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

import aiohttp
import orjson
from yarl import URL

from sage.common.config import Secret
from sage.common.errors import ConfigError, ModelError
from sage.middleware.models.chat import ChatReply, StreamReader, error_text, read_reply
from sage.middleware.models.limiting import Attempt, ModelLimits, is_local
from sage.middleware.models.retry import RETRIED_STATUSES, RetryRule, retry_after_of
from sage.middleware.models.sessions import LoopSessions
from sage.middleware.models.sse import EventDecoder

DEFAULT_BASE_URL = "https://api.openai.com/v1"
BASE_URL_VARIABLE = "OPENAI_BASE_URL"
API_KEY_VARIABLE = "OPENAI_API_KEY"


class OpenAIClient:
    """Chat completions, streamed or not, with retries, within the limits of the provider.

    Each attempt waits for its turn at the limiter of the model and the key (setting ``limits``,
    headers ``x-ratelimit-*``, see ``sage.kernel.scheduling``); ``timeout`` and ``deadline`` begin
    when the first attempt does.

    429 and 503 wait as long as ``Retry-After`` says; 500, 502, 504, timeouts, dropped connections
    and broken bodies are retried with exponential back-off and jitter; 400, 401, 404 and every
    other client error never, nor an exhausted quota or an empty completion.

    Args:
        base_url: Ends before ``/chat/completions``. Default: the environment variable
            ``OPENAI_BASE_URL``, else OpenAI itself.
        api_key: A string or a ``Secret``. Default: the environment variable
            ``OPENAI_API_KEY``. Servers on this machine or a private address
            need none.
        timeout: Seconds for one attempt, in whole.
        connect_timeout: Seconds to connect.
        idle_timeout: Seconds to the first chunk of a stream, and between two.
        deadline: Seconds for all attempts and the waits between them; ``None``: no bound but the
            retries.
        retry: See ``RetryRule``.
        headers: More headers for each request.
        prices: Money per million tokens, ``{model: {"input": .., "output": ..}}``, for the budget
            of a job; go before the table of prices.

    Raises:
        ConfigError: No key for a server that is not local, or the URL is none.
    """

    # What a client of another chat API replaces (see ``ollama_client``).
    _path: ClassVar[str] = "/chat/completions"
    _key_variable: ClassVar[str] = API_KEY_VARIABLE
    _needs_key: ClassVar[bool] = True
    _provider: ClassVar[str | None] = None
    _reader: ClassVar[type[StreamReader]] = StreamReader
    _decoder: ClassVar[type[EventDecoder]] = EventDecoder
    _read: Callable[[bytes], ChatReply] = staticmethod(read_reply)

    def __init__(
        self,
        base_url: str | None = None,
        api_key: Any = None,
        *,
        timeout: float = 120.0,
        connect_timeout: float = 10.0,
        idle_timeout: float = 60.0,
        deadline: float | None = None,
        retry: RetryRule | None = None,
        headers: Mapping[str, str] | None = None,
        prices: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        base = (base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL).rstrip("/")
        parts = urllib.parse.urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"base_url must be an http or https URL such as http://127.0.0.1:8000/v1, "
                f"got {base!r}"
            )
        key = _reveal(api_key) or os.environ.get(self._key_variable) or ""
        local = is_local(parts.hostname)
        if not key and not local and self._needs_key:
            raise ConfigError(
                f"no API key for {base}: set the environment variable {API_KEY_VARIABLE} or the "
                f"config key api_key; for a local server set {BASE_URL_VARIABLE} or base_url, "
                "for example http://127.0.0.1:8000/v1"
            )
        self.base_url = base
        self._host = parts.netloc.rpartition("@")[2]
        self._chat_url = URL(base + self._path)
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "sage",
            **({"Authorization": f"Bearer {key}"} if key else {}),
            **(headers or {}),
        }
        self._plain = aiohttp.ClientTimeout(total=timeout, sock_connect=connect_timeout)
        self._streaming = aiohttp.ClientTimeout(
            total=timeout, sock_connect=connect_timeout, sock_read=idle_timeout
        )
        self._deadline = deadline
        self._retry = retry or RetryRule()
        self._limits = ModelLimits(base, lambda: key, provider=self._provider, prices=prices)
        self._proxy = None if local else _proxy_for(parts.scheme, parts.hostname)
        self._sessions = LoopSessions(self._open_session)

    def __repr__(self) -> str:
        return f"OpenAIClient({self.base_url!r})"  # never the key

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str,
        stream: bool = False,
        on_token: Callable[[str], object] | None = None,
        retract: Callable[[], bool] | None = None,
        idempotency_key: str | None = None,
        **params: Any,
    ) -> ChatReply:
        """One chat completion.

        Args:
            messages: ``{"role", "content", ...}`` as the server takes them.
            model: Name of the model.
            stream: Receive the reply as it is made; usage is asked for and counted.
            on_token: Called on the event loop with each piece of text of a stream. Once it was
                called, a failure is not retried: the caller has seen half an answer.
            retract: Asked then, on the event loop: true when ``on_token`` has shown the pieces of
                this attempt to nobody and has forgotten them, so that the call can be retried.
            idempotency_key: Sent as ``Idempotency-Key``, the same in every attempt, so that a
                server that knows it does not do the work twice.
            params: Further fields of the request (``temperature``, ``max_tokens``, ``tools``,
                ``seed``, ``stop``, ``response_format`` …); ``None`` values are left out.

        Raises:
            ModelError: With ``status`` (HTTP status or ``None``), ``kind`` (``http``,
                ``connection``, ``timeout``, ``body``, ``empty``), ``retry_after`` (seconds or
                ``None``), ``attempts`` and, for streams, ``partial``.
        """
        body = self._body(messages, model, stream, params)
        delivered: list[str] = []

        def deliver(text: str) -> None:
            delivered.append(text)
            if on_token is not None:
                on_token(text)

        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        started: float | None = None
        attempt = 0
        while True:
            delivered.clear()
            call = self._limits.attempt(model, len(body) / 4, _max_output(params))
            await call.turn()
            if started is None:
                started = time.perf_counter()
            try:
                if stream:
                    reply = await self._stream_once(body, headers, deliver, started, call)
                else:
                    reply = self._read(await self._post(body, headers, call))
            except ModelError as error:
                call.fail(error)
                wait = self._wait(error, attempt, started)
                shown = on_token is not None and bool(delivered)
                if wait is None or (shown and (retract is None or not retract())):
                    raise self._final(error, attempt, "".join(delivered)) from error
                await asyncio.sleep(wait)
                attempt += 1
            except BaseException:
                call.break_off()
                raise
            else:
                call.settle(
                    reply.input_tokens, reply.output_tokens, reply.cached_tokens, reply.model
                )
                reply.retries = attempt
                reply.latency = time.perf_counter() - started
                return reply

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], *, model: str, **params: Any
    ) -> AsyncIterator[str]:
        """The pieces of text of one completion as they come; retried only before the first.

        Raises:
            ModelError: As ``chat``.
        """
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        task = asyncio.ensure_future(
            self.chat(messages, model=model, stream=True, on_token=pieces.put_nowait, **params)
        )
        task.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await task
        finally:
            task.cancel()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the client stays usable."""
        await self._sessions.aclose()

    def close(self) -> None:
        """Close the connections of all event loops, from any thread."""
        self._sessions.close()

    def _body(
        self,
        messages: Sequence[Mapping[str, Any]],
        model: str,
        stream: bool,
        params: Mapping[str, Any],
    ) -> bytes:
        payload: dict[str, Any] = {
            "model": model,
            "messages": messages,
            **{name: value for name, value in params.items() if value is not None},
        }
        if stream:
            payload["stream"] = True
            payload.setdefault("stream_options", {"include_usage": True})
        return orjson.dumps(payload)

    async def _post(self, body: bytes, headers: Mapping[str, str], call: Attempt) -> bytes:
        session = await self._sessions.get()
        try:
            async with session.post(
                self._chat_url,
                data=body,
                headers=headers,
                timeout=self._plain,
                allow_redirects=False,
            ) as response:
                call.headers = response.headers
                content = await response.read()
                if response.status != 200:
                    raise self._http_error(response, content)
                return content
        except TimeoutError as error:
            raise self._broken("timeout", _time_over(error, self._plain)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken("connection", _reason(error)) from error

    async def _stream_once(
        self,
        body: bytes,
        headers: Mapping[str, str],
        deliver: Callable[[str], object],
        started: float,
        call: Attempt,
    ) -> ChatReply:
        session = await self._sessions.get()
        reader = self._reader()
        decoder = self._decoder()
        try:
            async with session.post(
                self._chat_url,
                data=body,
                headers=headers,
                timeout=self._streaming,
                allow_redirects=False,
            ) as response:
                call.headers = response.headers
                if response.status != 200:
                    raise self._http_error(response, await response.read())
                if response.content_type == "application/json":
                    return self._unstreamed(await response.read(), deliver)
                async for chunk in response.content.iter_any():
                    for event in decoder.feed(chunk):
                        text = reader.feed(event)
                        if text:
                            if reader.reply.first_token is None:
                                reader.reply.first_token = time.perf_counter() - started
                            deliver(text)
                    if reader.done:
                        break
        except TimeoutError as error:
            raise self._broken("timeout", _time_over(error, self._streaming)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken("connection", _reason(error)) from error
        except ValueError as error:
            raise self._broken("body", str(error)) from error
        return reader.finish()

    def _unstreamed(self, body: bytes, deliver: Callable[[str], object]) -> ChatReply:
        # Some servers ignore "stream" and answer in one piece: that is an answer too.
        reply = self._read(body)
        if reply.text:
            deliver(reply.text)
        return reply

    def _wait(self, error: ModelError, attempt: int, started: float) -> float | None:
        if not error.data.get("retryable"):
            return None
        wait = self._retry.wait(
            attempt=attempt,
            kind=error.data["kind"],
            retry_after=error.data["retry_after"],
            random=random.random(),  # noqa: S311 - jitter
        )
        if wait is None or self._deadline is None:
            return wait
        return wait if time.perf_counter() - started + wait < self._deadline else None

    def _final(self, error: ModelError, attempt: int, partial: str) -> ModelError:
        times = "" if attempt == 0 else f" (gave up after {attempt + 1} attempts)"
        return ModelError(
            f"{self._host}: {error.message}{times}",
            **{**error.data, "attempts": attempt + 1, "partial": partial},
        )

    def _http_error(self, response: aiohttp.ClientResponse, body: bytes) -> ModelError:
        status = response.status
        message, code = error_text(body)
        hint = {
            401: f"; check {API_KEY_VARIABLE} or api_key",
            404: f"; check the model name and base_url {self.base_url!r}",
        }.get(status, "")
        if 300 <= status < 400:
            hint = f"; the server moved to {response.headers.get('Location')!r}: change base_url"
        retryable = status in RETRIED_STATUSES and code != "insufficient_quota"
        return ModelError(
            f"HTTP {status} {response.reason or ''}: {message}{hint}",
            status=status,
            code=code,
            kind="http",
            retry_after=retry_after_of(response.headers, time.time()),
            retryable=retryable,
            request_id=response.headers.get("x-request-id"),
        )

    @staticmethod
    def _broken(kind: str, message: str) -> ModelError:
        return ModelError(message, status=None, kind=kind, retry_after=None, retryable=True)

    def _open_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
            proxy=self._proxy,
            read_bufsize=2**18,
        )


def _max_output(params: Mapping[str, Any]) -> float | None:
    """Most output tokens of a request, over all its choices; ``None``: it does not say."""
    most = params.get("max_completion_tokens") or params.get("max_tokens")
    if not isinstance(most, int | float):
        return None
    return float(most * (params.get("n") or 1))


def _reveal(key: Any) -> str:
    if key is None or isinstance(key, str):
        return key or ""
    if isinstance(key, Secret):
        return key.reveal()
    raise ConfigError(f"api_key must be a string or a Secret, got {type(key).__name__}")


def _proxy_for(scheme: str, host: str) -> str | None:
    # Looked up once: aiohttp's trust_env reads the environment for every request.
    if urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(scheme)


def _time_over(error: TimeoutError, limits: aiohttp.ClientTimeout) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {limits.sock_connect:g} s (connect_timeout)"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"the stream stalled for {limits.sock_read:g} s (idle_timeout)"
    return f"no whole answer within {limits.total:g} s (timeout)"


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError) or getattr(error, "os_error", None) is not None:
        cause = getattr(error, "os_error", None) or error
        text = (
            f"{getattr(cause, 'strerror', None) or cause}; is the server running, at this base_url?"
        )
    return f"the connection failed: {text}"
