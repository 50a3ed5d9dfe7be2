"""``APISink``: sends items to an HTTP endpoint, in batches, each item once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import orjson

from sage.common.errors import ConfigError, ServiceError
from sage.lib.adapt import to_dict
from sage.lib.contracts import SinkFunction
from sage.lib.errors import ItemError
from sage.lib.io.sink.line import json_bytes
from sage.lib.io.sink.natural_batches import NaturalBatches
from sage.middleware.models.retry import RETRIED_STATUSES, RetryRule, retry_after_of

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.middleware.models.sessions import LoopSessions


class DeliveryError(ServiceError):
    """An endpoint did not take a batch. Attributes: ``status`` (or ``None``), ``url``."""


class APISink(SinkFunction[Any]):
    """Sends items as JSON by POST (or PUT); ``execute`` returns when the endpoint has taken them.

    Batches form by themselves while other requests are under way; the step option ``concurrency``
    bounds how many items wait. 408, 409, 425, 429, 5xx, time-outs and dropped connections are tried
    again, after ``Retry-After`` where the server says so; any other status fails the items of the
    batch at once, by the step's ``on_error``. No redirect is followed.

    Every request has an ``Idempotency-Key``, the same for each try, so that an endpoint that knows
    it takes a batch once even when its answer was lost. With ``key`` it is made from the items'
    keys; with ``batch_size`` 1 another run then sends the same, too. Without, it is made from the
    records and bodies: a run that goes on after a crash (``env.enable_checkpoints``) sends an item
    that was under way with the same one if it goes alone (``batch_size`` 1), and items that the
    ledger has as taken not at all.
    Source: IETF draft-ietf-httpapi-idempotency-key-header.

    Example:
        >>> stream.sink(APISink, {"url": "https://example.org/answers", "token": "env:API_TOKEN"})
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            url: ``http://`` or ``https://``.
            method: ``POST``, ``PUT`` or ``PATCH``.
            batch_size: Most items of a request; with 1 the body is the item itself, else a list.
            requests: Most requests under way.
            wrap: Key under which the list is put in an object; default: the list is the body.
            token: Sent as ``Authorization: Bearer``; ``env:NAME`` refers to a variable.
            headers: More headers; values may be ``env:NAME``.
            key: Key of the item (dots for nested ones) that identifies it; default: each request
                has one of its own.
            idempotency_header: Name of the header; empty: none is sent.
            timeout: Seconds of one try.
            max_retries: Tries after the first.
            retry_base: Seconds before the first retry; doubles with each.
            max_retry_after: A server that asks for a longer wait (seconds) gets no retry.
        """

        url: str
        method: str = attrs.field(
            default="POST", validator=attrs.validators.in_(("POST", "PUT", "PATCH"))
        )
        batch_size: int = attrs.field(default=32, validator=attrs.validators.ge(1))
        requests: int = attrs.field(default=4, validator=attrs.validators.ge(1))
        wrap: str | None = None
        token: str | None = attrs.field(default=None, repr=False)
        headers: dict[str, str] = attrs.field(factory=dict, repr=False)
        key: str | None = None
        idempotency_header: str = "Idempotency-Key"
        timeout: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
        max_retries: int = attrs.field(default=5, validator=attrs.validators.ge(0))
        retry_base: float = attrs.field(default=0.25, validator=attrs.validators.ge(0))
        max_retry_after: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        parts = urlsplit(settings.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"APISink: url must begin with http:// or https://, got {parts!r}")
        self._rule = RetryRule(
            max_retries=settings.max_retries,
            base=settings.retry_base,
            max_retry_after=settings.max_retry_after,
        )
        self._sessions: LoopSessions | None = None
        self._batches: NaturalBatches | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Read the secrets; nothing is sent.

        Raises:
            ConfigError: A variable that is referred to is not set.
        """
        # aiohttp takes a fifth of a second to import: only pipelines that send pay for it.
        import aiohttp  # noqa: PLC0415

        from sage.middleware.models.sessions import LoopSessions  # noqa: PLC0415

        settings = self.config
        headers = {name: _secret(value) for name, value in settings.headers.items()}
        headers["Content-Type"] = "application/json"
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {_secret(settings.token)}"
        self._ctx = ctx
        timeout = aiohttp.ClientTimeout(total=settings.timeout)
        self._sessions = LoopSessions(
            lambda: aiohttp.ClientSession(headers=headers, timeout=timeout)
        )
        self._batches = NaturalBatches(
            self._send, size=settings.batch_size, in_flight=settings.requests
        )

    async def execute(self, item: Any) -> None:
        """Send one item; returns when its batch was taken.

        Raises:
            ItemError: It has no value for ``key``.
            DeliveryError: The endpoint refused it, or did not answer after all retries.
        """
        assert self._batches is not None, "open() comes before execute()"
        await self._batches.deliver((json_bytes(item), self._identity(item)))

    def close(self) -> None:
        """Close the connections."""
        if self._sessions is not None:
            self._sessions.close()
            self._sessions = None

    def _identity(self, item: Any) -> str:
        if self.config.key is None:
            return str(self._ctx.uuid())
        value = to_dict(item)
        for name in self.config.key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            raise ItemError(
                f"APISink: the item {item!r:.80} has no value for key {self.config.key!r}"
            )
        return str(value)

    async def _send(self, items: Sequence[tuple[bytes, str]]) -> Sequence[BaseException | None]:
        bodies = [body for body, _ in items]
        body = bodies[0] if self.config.batch_size == 1 else b"[" + b",".join(bodies) + b"]"
        if self.config.wrap is not None:
            body = b"{" + orjson.dumps(self.config.wrap) + b":" + body + b"}"
        headers = {}
        if self.config.idempotency_header:
            names = orjson.dumps([name for _, name in items])
            named = names if self.config.key is not None else names + body
            digest = hashlib.blake2b(named, digest_size=16).hexdigest()
            headers[self.config.idempotency_header] = digest
        attempt = 0
        while True:
            error, kind, wait = await self._try(body, headers)
            if error is None:
                return [None] * len(items)
            seconds = None
            if kind is not None:
                seconds = self._rule.wait(
                    attempt=attempt,
                    kind=kind,
                    retry_after=wait,
                    random=random.random(),  # noqa: S311 - spreads the retries, is no secret
                )
            if seconds is None:
                return [error] * len(items)
            await asyncio.sleep(seconds)
            attempt += 1

    async def _try(
        self, body: bytes, headers: dict[str, str]
    ) -> tuple[DeliveryError | None, str | None, float | None]:
        """Why it failed, its kind for ``RetryRule`` (``None``: not to be tried again), wait."""
        import aiohttp  # noqa: PLC0415

        assert self._sessions is not None
        settings = self.config
        shown = urlsplit(settings.url)._replace(query="").geturl()  # queries hold keys
        session = await self._sessions.get()
        try:
            async with session.request(
                settings.method, settings.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                text = (await response.content.read(400)).decode("utf-8", "replace")
                if 200 <= response.status < 300:
                    return None, None, None
                error = DeliveryError(
                    f"{shown} answered {response.status}: {text[:300]}",
                    status=response.status,
                    url=shown,
                )
                if response.status not in RETRIED_STATUSES:
                    return error, None, None
                return error, "http", retry_after_of(response.headers, time.time())
        except TimeoutError as failure:
            error = DeliveryError(
                f"{shown} did not answer within {settings.timeout:g} s", status=None, url=shown
            )
            error.__cause__ = failure
            return error, "timeout", None
        except aiohttp.ClientError as failure:
            error = DeliveryError(
                f"{shown} cannot be reached: {type(failure).__name__}: {failure}",
                status=None,
                url=shown,
            )
            error.__cause__ = failure
            return error, "connection", None


def _secret(value: str) -> str:
    if not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if name not in os.environ:
        raise ConfigError(f"APISink refers to the variable {name!r}, which is not set")
    return os.environ[name]
