"""What every request passes before any route: host, origin, token, size.

An ASGI middleware around the whole application, so that a route added later is behind it too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Paths without a token, matched exactly; they say nothing but that the server runs."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_BODY = 64 * 1024 * 1024
_DRAINED = 1024 * 1024 * 1024
"""Bytes that are read and thrown away of a body that is too large."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses what must not reach the application.

    - 400: the ``Host`` header names none of ``hosts`` (DNS rebinding).
    - 403: it comes from a page of another origin, whatever the method: streams are read by GET.
    - 401: no valid bearer token; on every path but the exact ``OPEN_PATHS``.
    - 413: the body is larger than ``max_body`` bytes.

    Args:
        app: The application.
        authenticate: Says whether a bearer token is valid.
        hosts: Names the server is called by; ``None`` when an application around this one checks.
        max_body: Bytes of a request's body.
        wrong: Class of the error of a request that is wrong, as it is called on the wire.
    """

    def __init__(
        self,
        app: App,
        authenticate: Callable[[str], bool],
        hosts: Collection[str] | None = LOOPBACK_HOSTS,
        max_body: int = MAX_BODY,
        wrong: str = "ConfigError",
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._hosts = None if hosts is None else frozenset(h.lower() for h in hosts)
        self._max_body = max_body
        self._wrong = wrong

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, reason = self._refusal(scope, headers)
        if status:
            await self._refuse(scope, receive, send, status, reason)
        elif scope["type"] == "websocket" or scope["method"] in _SAFE:
            await self._app(scope, receive, send)
        else:
            await self._with_body(scope, headers, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str]:
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and _name(host) not in self._hosts:
            return 400, f"the host {host!r} is not served here"
        origin = headers.get(b"origin")  # a browser sends it with whatever could change or stream
        if origin is not None and not _same_origin(origin.decode("latin-1"), host):
            return 403, f"requests from pages of {origin.decode('latin-1')!r} are refused"
        if scope["type"] == "http" and _path(scope) in OPEN_PATHS and scope["method"] in _SAFE:
            return 0, ""
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not self._authenticate(token.strip()):
            return 401, "a valid token is needed: Authorization: Bearer …"
        return 0, ""

    async def _with_body(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        length = headers.get(b"content-length", b"0")
        too_large = f"the body is larger than {self._max_body} bytes"
        if not length.isdigit() or int(length) > self._max_body:
            await self._refuse(scope, receive, send, 413, too_large, drain=True)
            return
        # Read here and not in the application: a body without a length must not exceed it either.
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                await self._refuse(scope, receive, send, 413, too_large, drain=True)
                return
            more = message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts)}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    async def _refuse(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        status: int,
        reason: str,
        *,
        drain: bool = False,
    ) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
            return
        kind = {401: "AuthError", 403: "AuthError"}.get(status, self._wrong)
        body = json.dumps({"error": {"type": kind, "message": reason, "data": {}}}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": drain})
        if drain:
            # A client that still sends when the connection is closed does not see the answer.
            left = _DRAINED
            while left > 0 and (message := await receive())["type"] == "http.request":
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
            await send({"type": "http.response.body", "body": b""})


def _path(scope: Scope) -> str:
    """The path below the place where the application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _name(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _same_origin(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
