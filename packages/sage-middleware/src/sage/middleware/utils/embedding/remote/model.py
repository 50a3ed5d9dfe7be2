"""What the embedding models behind HTTP share: keys, batches, limits, counting."""

from __future__ import annotations

import abc
import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.api.calls import CALLER, CallInfo, CallUsage, on_behalf
from sage.common.errors import ConfigError, ModelError
from sage.common.secrets import Secret
from sage.kernel.scheduling.limits import Limit
from sage.middleware.models.limiting import ModelLimits
from sage.middleware.models.retry import RetryRule
from sage.middleware.utils.embedding.model import EmbeddingModel, Kind, Vectors
from sage.middleware.utils.embedding.remote.transport import JsonTransport


@attrs.frozen(kw_only=True)
class Provider:
    """The fixed facts of a protocol.

    Attributes:
        name: Registered name of the embedding.
        base_url: Address of the provider's own server.
        path: What is posted to.
        key_variables: Environment variables the key is looked for in, first set wins; empty for
            servers without keys.
        batch_size: Texts per request unless said otherwise.
        max_batch: Most texts the protocol allows per request.
        model: Model used unless said otherwise, or ``None`` when it must be named.
    """

    name: str
    base_url: str
    path: str
    key_variables: tuple[str, ...] = ()
    batch_size: int
    max_batch: int
    model: str | None = None


class RemoteEmbedder(EmbeddingModel):
    """An embedding model on a server. Texts of blanks only give a zero row and are not sent.

    Args:
        provider: The protocol's facts, given by the subclass.
        model: Name of the model on the server.
        base_url: Address of the server; the provider's own by default.
        api_key: The key, a reference to it (``env:NAME``, ``file:path``) or a ``Secret``; by
            default the provider's environment variable. Only the provider's own server insists.
        dimensions: Ask for vectors of this length; only some models can.
        timeout: Seconds without any byte from the server before an attempt counts as failed.
        max_retries: Repetitions after 429, 5xx or a broken connection; ``Retry-After`` is kept.
        concurrency: Requests in flight at a time, of one ``embed_many``.
        max_request_tokens: Estimated tokens per request; batches are cut to keep within.
        requests_per_minute, tokens_per_minute: Limits of the model with this key, for all that
            use them in this process; default: the setting ``limits``, else what the server says.
        query_prefix, document_prefix: Put before texts of that kind, for models that want it.
        headers: Sent with every request.
        batch_size, cache_bytes, cache_path: As for ``EmbeddingModel``.

    Raises:
        ConfigError: A setting is wrong, or the key is missing; the error names the variable.
    """

    def __init__(
        self,
        provider: Provider,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        dimensions: int | None = None,
        timeout: float = 60.0,
        max_retries: int = 5,
        concurrency: int = 4,
        max_request_tokens: int = 250_000,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        headers: Mapping[str, str] | None = None,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._model = model or provider.model or ""
        if not self._model:
            raise ConfigError(f"embedding {provider.name!r} needs model=, a name the server knows")
        if batch_size is not None and not 1 <= batch_size <= provider.max_batch:
            raise ConfigError(
                f"embedding {provider.name!r}: batch_size must be 1 to {provider.max_batch}, "
                f"got {batch_size}"
            )
        for name, value in (
            ("concurrency", concurrency),
            ("max_request_tokens", max_request_tokens),
            ("timeout", timeout),
            ("dimensions", dimensions),
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
        ):
            if value is not None and value <= 0:
                raise ConfigError(
                    f"embedding {provider.name!r}: {name} must be above 0, got {value}"
                )
        self._provider = provider
        self._dimensions = dimensions
        self._max_request_tokens = max_request_tokens
        self._key = _key_for(provider, api_key, base_url)
        self._extra_headers = dict(headers or {})
        given_limit = requests_per_minute or tokens_per_minute
        address = base_url or provider.base_url
        self._limits = ModelLimits(
            address,
            self._reveal,
            provider=None if provider.key_variables else provider.name,
            limit=Limit(requests_per_minute, tokens_per_minute) if given_limit else None,
        )
        self._transport = JsonTransport(
            address,
            headers=self._headers,
            timeout=timeout,
            retry=RetryRule(max_retries=max_retries),
            on_request=lambda again: self._count(requests=1, retries=int(again)),
            attempt=lambda tokens: self._limits.attempt(self._model, tokens, 0),
        )
        kept = {"model": self._model, "base_url": base_url, "dimensions": dimensions}
        if isinstance(api_key, str) and Secret.parse(api_key).reference:
            kept["api_key"] = api_key
        given = {name: value for name, value in kept.items() if value is not None}
        super().__init__(
            name=provider.name,
            dim=dimensions,
            options={**given, **(options or {})},
            batch_size=batch_size or provider.batch_size,
            concurrency=concurrency,
            **settings,
        )

    @property
    def fingerprint(self) -> str:
        """Protocol, model, dimension asked for and prefixes; not the address, which may change."""
        return (
            f"{self._provider.name}:model={self._model};"
            f"dimensions={self._dimensions or 'own'}{self._prefix_mark()}"
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
        super().close()

    @abc.abstractmethod
    def _payload(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """Build a request's body."""

    @abc.abstractmethod
    def _read(self, answer: dict[str, Any]) -> tuple[list[Any], int]:
        """Take rows (numbers, or base64 of float32), in the order asked, and tokens of an answer.

        May raise ``KeyError``, ``TypeError`` or ``ValueError`` for an answer of another shape.
        """

    def embed_many(
        self, texts: Iterable[str], batch_size: int | None = None, *, kind: Kind = "document"
    ) -> Vectors:
        """As for every model; for a step of a job the texts are calls of that step.

        With a ledger, texts that were embedded before a crash are not sent again.
        """
        caller = CALLER.get()
        if caller is None:
            return super().embed_many(texts, batch_size, kind=kind)
        wanted = self._checked(texts)
        many = super().embed_many

        def embed(missing: list[str]) -> _Rows:
            with on_behalf(None):
                used: list[int] = []
                token = _TOKENS.set(used)
                try:
                    return _Rows(many(missing, batch_size, kind=kind), used)
                finally:
                    _TOKENS.reset(token)

        info = CallInfo(
            kind="embedding",
            provider=self._limits.host,
            model=self._model,
            request=[self.fingerprint, kind],
            usage=lambda rows: CallUsage(sum(rows.used)) if isinstance(rows, _Rows) else None,
        )
        one_each = len(wanted) == len(caller.record_ids)
        rows = caller.call_many(
            embed, wanted, call_info=info, records=None if one_each else [0] * len(wanted)
        )
        if not rows:
            return many(wanted, batch_size, kind=kind)
        return np.stack(rows)

    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        sent = [place for place, text in enumerate(texts) if text.strip()]
        parts = [self._request(part, kind) for part in self._cut([texts[i] for i in sent])]
        if not parts:
            return np.zeros((len(texts), self.get_dim()), np.float32)
        vectors = np.concatenate(parts)
        if len(sent) == len(texts):
            return vectors
        out = np.zeros((len(texts), vectors.shape[1]), np.float32)
        out[sent] = vectors
        return out

    def _cut(self, texts: list[str]) -> Iterator[list[str]]:
        """Cut a batch where the estimate of its tokens or the protocol's limit says so."""
        part: list[str] = []
        tokens = 0
        for text in texts:
            more = estimate_tokens(text)
            full = len(part) >= self._provider.max_batch
            if part and (full or tokens + more > self._max_request_tokens):
                yield part
                part, tokens = [], 0
            part.append(text)
            tokens += more
        if part:
            yield part

    def _request(self, texts: list[str], kind: Kind) -> npt.NDArray[np.float32]:
        estimate = sum(map(estimate_tokens, texts))
        payload = self._payload(texts, kind)
        answer, call = self._transport.post(self._provider.path, payload, estimate)
        try:
            rows, tokens = self._read(answer)
            vectors = np.stack([_vector(row) for row in rows])
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            call.break_off()
            raise ModelError(
                f"embedding {self._provider.name!r}: the server's answer has not the expected "
                f"shape ({type(exc).__name__}: {exc}); is base_url an embedding server's?",
                status=200,
            ) from exc
        call.settle(tokens or None, None)
        used = _TOKENS.get()
        if used is not None:
            used.append(tokens)
        if len(vectors) != len(texts):
            raise ModelError(
                f"embedding {self._provider.name!r}: {len(texts)} texts were sent and "
                f"{len(vectors)} vectors came back",
                status=200,
            )
        self._count(tokens=tokens)
        return vectors

    def _reveal(self) -> str:
        return self._key.reveal() if self._key is not None else ""

    def _headers(self) -> dict[str, str]:
        headers = dict(self._extra_headers)
        key = self._reveal()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return headers


class _Rows(list[Vectors]):
    """Vectors, and the tokens of the requests that were made for them."""

    def __init__(self, vectors: Vectors, used: list[int]) -> None:
        super().__init__(vectors)
        self.used = used


_TOKENS: ContextVar[list[int] | None] = ContextVar("sage_embedding_tokens", default=None)


def estimate_tokens(text: str) -> int:
    """A rough upper estimate: a token per 3 bytes of UTF-8, at least one."""
    return len(text.encode("utf-8", "replace")) // 3 + 1


def _vector(row: Any) -> npt.NDArray[np.float32]:
    if isinstance(row, str):
        return np.frombuffer(base64.b64decode(row, validate=True), "<f4").astype(np.float32)
    vector = np.asarray(row, np.float32)
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"a vector of shape {vector.shape}")
    return vector


def _key_for(
    provider: Provider, api_key: str | Secret | None, base_url: str | None
) -> Secret | None:
    if isinstance(api_key, Secret):
        return api_key
    if api_key:
        return Secret.parse(api_key, origin=f"embedding {provider.name}: api_key")
    for variable in provider.key_variables:
        if os.environ.get(variable):
            return Secret(reference=f"env:{variable}")
    if provider.key_variables and base_url is None:
        raise ConfigError(
            f"embedding {provider.name!r} needs an API key: set {provider.key_variables[0]}, or "
            "give api_key= (a server of your own: base_url=)",
            variable=provider.key_variables[0],
        )
    return None
