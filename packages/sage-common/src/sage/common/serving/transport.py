"""HTTP to a server of SAGE: kept connections, JSON, streams of lines.

Predecessor: a client class; successor: the standard library's ``http.client``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sage.common.errors import ConfigError, ServiceError, UnreachableError
from sage.common.secrets import Secret

_IDLE = 8
_CHUNK = 64 * 1024
_JSON = {"Content-Type": "application/json"}


class Transport:
    """Connections to one server, for any number of threads.

    A request is never sent twice: when a connection breaks, nobody knows whether the server did
    what was asked. Connections that the server closed meanwhile are found out before they are used.

    Args:
        base_url: ``http://host:port``, with the prefix where the application is mounted.
        token: Sent with every request.
        timeout: Seconds without a byte from the server.
        cafile: PEM file of the authority that signed the server's certificate.

    Raises:
        ConfigError: The URL is none.
    """

    what = "the server"
    """How messages call it."""
    example = "http://127.0.0.1:19001"
    prefix = "/v1/"
    raw_type = "application/octet-stream"
    quiet = 0.0
    """Seconds that a stream may say nothing, also when ``timeout`` is less."""

    def __init__(
        self,
        base_url: str,
        token: str | Secret,
        *,
        timeout: float = 60.0,
        cafile: str | Path | None = None,
    ) -> None:
        wrong = ConfigError(
            f"the address of {self.what} is {base_url!r}; expected {self.example} or the like"
        )
        try:
            parts = urlsplit(base_url.rstrip("/"))
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError as exc:  # e.g. a port beyond 65535
            raise wrong from exc
        if not usable:
            raise wrong
        self.base_url = base_url.rstrip("/")
        self._parts = parts
        self._token = token if isinstance(token, Secret) else Secret(token)
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._context = ssl.create_default_context(
                cafile=None if cafile is None else str(cafile)
            )
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any = None,
        *,
        raw: bytes | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request; the JSON of the answer.

        Args:
            method: ``GET``, ``POST``, …
            path: Parts of the path below ``prefix``.
            body: Sent as JSON.
            raw: Sent as it is.
            query: Parameters of the URL; ``None`` values are left out.

        Raises:
            SageError: What the server raised, as the same class.
            UnreachableError: No answer; what was asked may have been done or not.
        """
        connection, response = self._send(method, path, body, raw, query)
        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._unreachable(exc) from exc
        self._keep(connection, response)
        try:
            return json.loads(data)
        except ValueError as exc:
            raise UnreachableError(
                f"the answer is not of {self.what}: {data[:80]!r}", url=self.base_url
            ) from exc

    def stream(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        end: float | None = None,
    ) -> Iterator[bytes]:
        """Send a request; the lines of the answer as they come, whole.

        Args:
            method, path, body, query: See ``request``.
            end: Time (``time.monotonic``) at which to stop; ``None``: at the end of the answer.

        Raises:
            UnreachableError: The answer broke off.
        """
        connection, response = self._send(method, path, body, None, query)
        left = b""
        if connection.sock is not None:
            connection.sock.settimeout(max(self._timeout, self.quiet))
        try:
            while chunk := self._read_until(connection, response, end):
                *whole, left = (left + chunk).split(b"\n")
                yield from (line for line in whole if line)
            if left:
                yield left
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc
        finally:
            # A stream that was left early has unread bytes: its connection cannot be used again.
            connection.close()

    def close(self) -> None:
        """Close the idle connections; the transport can still be used."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):  # else __init__ refused
            self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _read_until(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        end: float | None,
    ) -> bytes:
        if end is None:
            return response.read1(_CHUNK)
        left = end - time.monotonic()
        if left <= 0:
            return b""
        if connection.sock is not None:
            connection.sock.settimeout(min(left, max(self._timeout, self.quiet)))
        try:
            return response.read1(_CHUNK)
        except TimeoutError:
            if time.monotonic() >= end:
                return b""
            raise

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any,
        raw: bytes | None,
        query: Mapping[str, Any] | None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = self._parts.path + self.prefix + "/".join(quote(part, safe="") for part in path)
        given = {key: value for key, value in (query or {}).items() if value is not None}
        if given:
            target = f"{target}?{urlencode(given)}"
        headers = self._headers()
        data = raw
        if raw is not None:
            headers["Content-Type"] = self.raw_type
        elif body is not None:
            headers.update(_JSON)
            data = self._encode(body)
        connection = self._connection()
        try:
            # A server that takes no more of a body may have said why before it hung up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._unreachable(exc) from exc
        if response.status >= 300:
            try:
                failed = response.read()
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                raise self._unreachable(exc) from exc
            self._keep(connection, response)
            raise self._failure(response.status, failed)
        return connection, response

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                connection = self._idle.popleft() if self._idle else None
            if connection is None:
                break
            # Readable without a request: the server has closed it (or speaks out of turn).
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        host, port = self._parts.hostname, self._parts.port
        assert host is not None
        if self._context is not None:
            return http.client.HTTPSConnection(
                host, port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _keep(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        with self._lock:
            if not response.will_close and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    # -- what a subclass may know better ---------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.reveal()}"}

    def _encode(self, body: Any) -> bytes:
        return json.dumps(body).encode()

    def _unreachable(self, cause: Exception) -> ServiceError:
        reason = str(cause) or type(cause).__name__
        return UnreachableError(
            f"no answer from {self.what} at {self.base_url}: {reason}", url=self.base_url
        )

    def _failure(self, status: int, body: bytes) -> Exception:
        return ServiceError(f"{self.what} answered with status {status}", status=status)
