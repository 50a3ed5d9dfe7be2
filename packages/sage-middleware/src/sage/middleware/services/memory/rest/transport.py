"""HTTP to the memory server: kept connections, errors as the classes they were, JSON lines."""

from __future__ import annotations

import http.client
import select
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from sage.common.config import Secret
from sage.common.errors import AuthError, ConfigError, UnreachableError
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.failures import from_wire

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
        ConfigError: The URL is none, or a token would go over a network in clear.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Secret,
        *,
        timeout: float = 60.0,
        cafile: str | Path | None = None,
    ) -> None:
        parts = urlsplit(base_url.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"the memory server is {base_url!r}; expected http://127.0.0.1:19002 or the like"
            )
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
            path: Parts of the path below ``/v1``.
            body: Sent as JSON.
            raw: Sent as it is, as JSON lines.
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
            raise self._broken(exc) from exc
        self._keep(connection, response)
        return _json(data)

    def stream(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
    ) -> Iterator[bytes]:
        """Send a request; the lines of the answer as they come, whole.

        Raises:
            UnreachableError: The answer broke off.
        """
        connection, response = self._send(method, path, body, None, query)
        left = b""
        try:
            while chunk := response.read1(_CHUNK):
                *whole, left = (left + chunk).split(b"\n")
                yield from (line for line in whole if line)
            if left:
                yield left
        except (OSError, http.client.HTTPException) as exc:
            raise self._broken(exc) from exc
        finally:
            # A stream that was left early has unread bytes: its connection cannot be used again.
            connection.close()

    def close(self) -> None:
        """Close the idle connections; the transport can still be used."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    # -- inside ----------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any,
        raw: bytes | None,
        query: Mapping[str, Any] | None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = self._parts.path + "/v1/" + "/".join(quote(part, safe="") for part in path)
        given = {key: value for key, value in (query or {}).items() if value is not None}
        if given:
            target = f"{target}?{urlencode(given)}"
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        data = raw
        if raw is not None:
            headers["Content-Type"] = "application/x-ndjson"
        elif body is not None:
            headers.update(_JSON)
            data = encode(body)
        connection = self._connection()
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            raise self._broken(exc) from exc
        if response.status >= 300:
            try:
                failed = response.read()
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                raise self._broken(exc) from exc
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

    def _broken(self, cause: Exception) -> UnreachableError:
        reason = str(cause) or type(cause).__name__
        return UnreachableError(
            f"no answer from the memory server at {self.base_url}: {reason}; is it running "
            "(sage memory serve)? What was asked may have been done or not",
            url=self.base_url,
        )

    def _failure(self, status: int, body: bytes) -> Exception:
        if status == 401:
            return AuthError(
                f"the memory server at {self.base_url} refused the token; set SAGE_MEMORY_TOKEN to "
                "one it knows (sage memory token new)",
                url=self.base_url,
            )
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            data = None
        return from_wire(status, data)


def encode(body: Any) -> bytes:
    """JSON of a request.

    Raises:
        InvalidInputError: Something in it is not JSON.
    """
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as exc:
        raise InvalidInputError(f"what was given cannot be sent as JSON: {exc}") from exc


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UnreachableError(f"the answer is not of a memory server: {data[:80]!r}") from exc
