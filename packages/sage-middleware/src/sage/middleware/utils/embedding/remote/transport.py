"""JSON over HTTP for threads: kept-alive connections, retries, errors that say what to do."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sage.common.errors import ConfigError, ModelError
from sage.middleware.models.limiting import Attempt
from sage.middleware.models.retry import RETRIED_STATUSES, RetryRule, retry_after_of

_SHOWN = 500


class JsonTransport:
    """Posts JSON to one server. Safe to share between threads; each call blocks its own.

    Args:
        base_url: ``http`` or ``https`` address that paths are appended to. The proxy named by the
            environment (``https_proxy``, ``no_proxy``) is used.
        headers: Sent with every request; called each time, so that a secret is read when used.
        timeout: Seconds without any byte before an attempt counts as failed.
        retry: When a failed attempt is repeated. Only 408, 409, 425, 429, 5xx and broken
            connections are; other answers are the caller's to mend.
        on_request: Told of every request: ``True`` for a repetition.
        attempt: What a request of so many tokens has to pass.

    Raises:
        ConfigError: ``base_url`` is not an HTTP address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Callable[[], Mapping[str, str]],
        timeout: float,
        retry: RetryRule,
        on_request: Callable[[bool], None],
        attempt: Callable[[int], Attempt],
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"base_url must be an http or https address, got {base_url!r}")
        if parts.username or parts.query:
            raise ConfigError("base_url must hold neither a user nor a query; use api_key")
        self._host, self._port = parts.hostname, parts.port
        self._scheme = parts.scheme
        self._path = parts.path.rstrip("/")
        self._headers = headers
        self._timeout = timeout
        self._retry = retry
        self._on_request = on_request
        self._attempt = attempt
        self._proxy = _proxy_for(parts.scheme, parts.hostname)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False
        # A model that nobody closed lets go of its sockets when it is collected.
        weakref.finalize(self, _close_all, self._idle)

    def post(
        self, path: str, payload: Mapping[str, Any], tokens: int
    ) -> tuple[dict[str, Any], Attempt]:
        """Send ``payload`` and return the JSON object that comes back, and the attempt to settle.

        Each attempt waits for its turn first; ``tokens`` is an estimate of what it uses.

        Raises:
            ModelError: The server refused, kept failing, or answered something else than JSON;
                ``status`` is the HTTP status or ``None``, ``retry_after`` seconds or ``None``.
        """
        body = json.dumps(payload).encode()
        attempt = 0
        while True:
            call = self._attempt(tokens)
            call.wait()
            self._on_request(attempt > 0)
            try:
                return self._once(path, body, call), call
            except ModelError as exc:
                call.fail(exc)
                wait = None
                if exc.retryable:
                    wait = self._retry.wait(
                        attempt=attempt,
                        kind=exc.kind,
                        retry_after=exc.retry_after,
                        random=random.random(),  # noqa: S311 - jitter
                    )
                if wait is None:
                    if attempt == 0:
                        raise
                    text = f"{exc.message} (gave up after {attempt + 1} attempts)"
                    raise ModelError(text, **exc.data) from exc
            except BaseException:
                call.break_off()
                raise
            attempt += 1
            time.sleep(wait)

    def close(self) -> None:
        """Close the idle connections; those in use close when their call ends."""
        with self._lock:
            self._closed = True
            _close_all(self._idle)

    def _once(self, path: str, body: bytes, call: Attempt) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **self._headers()}
        target = self._path + path
        if self._proxy and self._scheme == "http":
            port = f":{self._port}" if self._port else ""
            target = f"http://{self._host}{port}{target}"
        connection = self._take()
        try:
            connection.request("POST", target, body, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            kind = "timeout" if isinstance(exc, TimeoutError) else "connection"
            raise self._error(f"{kind}: {str(exc) or type(exc).__name__}", kind=kind) from exc
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        call.headers = response.headers
        if response.status != 200:
            raise self._refusal(response, data)
        try:
            answer = json.loads(data)
        except ValueError as exc:
            shown = data[:_SHOWN].decode("utf-8", "replace")
            raise self._error(f"the answer is not JSON: {shown!r}", kind="body") from exc
        if not isinstance(answer, dict):
            raise self._error(f"expected a JSON object, got {type(answer).__name__}", kind="body")
        return answer

    def _refusal(self, response: http.client.HTTPResponse, data: bytes) -> ModelError:
        status = response.status
        hint = {
            401: "; check the API key",
            403: "; check the API key and its permissions",
            404: "; check the model name and base_url",
        }.get(status, "")
        if 300 <= status < 400:
            hint = f"; the server moved to {response.headers.get('Location')!r}: change base_url"
        headers = {name.lower(): value for name, value in response.headers.items()}
        text = f"HTTP {status} {response.reason}: {_message(data)}{hint}"
        return self._error(
            text,
            kind="http",
            status=status,
            retryable=status in RETRIED_STATUSES and b"insufficient_quota" not in data,
            retry_after=retry_after_of(headers, time.time()),
        )

    def _error(
        self,
        text: str,
        *,
        kind: str,
        status: int | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
    ) -> ModelError:
        return ModelError(
            f"{self._host}: {text}",
            status=status,
            kind=kind,
            retryable=retryable,
            retry_after=retry_after,
        )

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._closed:
                raise ConfigError("this embedding model is closed; make a new one")
            if self._idle:
                return self._idle.pop()
        host, port = self._proxy or (self._host, self._port)
        if self._scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        secure = http.client.HTTPSConnection(
            host, port, timeout=self._timeout, context=ssl.create_default_context()
        )
        if self._proxy:
            secure.set_tunnel(self._host, self._port or 443)
        return secure

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _proxy_for(scheme: str, host: str) -> tuple[str, int | None] | None:
    proxy = urllib.request.getproxies().get(scheme)
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return (parts.hostname, parts.port) if parts.hostname else None


def _message(data: bytes) -> str:
    """The server's own words: OpenAI's ``error.message``, or ``error``, ``message``, ``detail``."""
    text = data[:_SHOWN].decode("utf-8", "replace")
    try:
        answer = json.loads(data)
    except ValueError:
        return text
    if isinstance(answer, dict):
        error = answer.get("error", answer)
        found = error if isinstance(error, str) else None
        if isinstance(error, dict):
            found = error.get("message") or error.get("detail")
        if found:
            return str(found)[:_SHOWN]
    return text
