"""The contract of every embedding model: texts in, L2-normalised float32 vectors out."""

from __future__ import annotations

import abc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Literal, Self

import attrs
import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, ServiceError
from sage.middleware.utils.embedding.cache import DiskVectorCache, VectorCache, content_key

Vectors = npt.NDArray[np.float32]
Kind = Literal["document", "query"]

DEFAULT_BATCH_SIZE = 32
DEFAULT_CACHE_BYTES = 32 * 2**20


@attrs.frozen(kw_only=True)
class EmbeddingUsage:
    """What a model was used for since it was made.

    Attributes:
        texts: Texts asked for.
        cached: Of these, answered from the cache or as a repetition within one call.
        batches: Batches computed or sent.
        tokens: Tokens the model or the server counted; 0 where nobody counts.
        requests: HTTP requests, retries included; 0 for local models.
        retries: Of these, repetitions after a failure.
        seconds: Wall time spent computing or waiting, summed over threads.
    """

    texts: int = 0
    cached: int = 0
    batches: int = 0
    tokens: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0


class EmbeddingModel(abc.ABC):
    """Maps texts to vectors. Safe to share between threads.

    A subclass implements ``_encode`` and ``fingerprint``; this class validates, removes
    repetitions, looks into the cache, sorts by length, cuts batches and normalises.

    Args:
        name: The registered name, such as ``"hash"``.
        dim: Dimension of the vectors, or ``None`` when only the first answer tells.
        options: What ``apply_embedding_model`` needs besides the name to make the same model again:
            plain JSON values without secrets.
        batch_size: Texts per batch where the caller of ``embed_many`` says nothing.
        cache_bytes: Bound of the in-memory cache, bytes; 0 switches it off.
        cache_path: SQLite file of a cache that outlives the process, or ``None``.
        query_prefix, document_prefix: Put before every text of that kind: some models were trained
            so.
        asymmetric: Whether the kind matters beyond the prefixes.
        concurrency: Batches of one ``embed_many`` computed at a time, each on its own thread.
    """

    def __init__(
        self,
        *,
        name: str,
        dim: int | None,
        options: Mapping[str, Any] | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        cache_path: str | None = None,
        query_prefix: str = "",
        document_prefix: str = "",
        asymmetric: bool = False,
        concurrency: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(
                f"embedding {name!r}: batch_size must be at least 1, got {batch_size}"
            )
        self._name = name
        self._dim = dim
        self._prefixes: dict[Kind, str] = {"query": query_prefix, "document": document_prefix}
        self._options = dict(options or {})
        for kind, prefix in self._prefixes.items():
            if prefix:
                self._options[f"{kind}_prefix"] = prefix
        self._asymmetric = asymmetric or query_prefix != document_prefix
        self._concurrency = concurrency
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._usage = EmbeddingUsage()
        self._cache = VectorCache(cache_bytes) if cache_bytes > 0 else None
        self._disk = DiskVectorCache(cache_path) if cache_path is not None else None

    @property
    def name(self) -> str:
        """The registered name of the model in use."""
        return self._name

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A stable text that names model and settings.

        Two models with the same fingerprint give comparable vectors; a collection built with one
        refuses another. The same on every machine and in every process.
        """

    @property
    def spec(self) -> dict[str, Any]:
        """``apply_embedding_model(**spec)`` makes this model again (secrets come from outside)."""
        return {"name": self._name, **self._options}

    @property
    def usage(self) -> EmbeddingUsage:
        """What was asked for so far."""
        with self._lock:
            return self._usage

    def get_dim(self) -> int:
        """Dimension of the vectors; may ask the model once when it is not known yet."""
        if self._dim is None:
            self.embed("dimension")
        assert self._dim is not None
        return self._dim

    def embed(self, text: str, *, kind: Kind = "document") -> Vectors:
        """Embed one text.

        Args:
            text: The text.
            kind: ``"query"`` for models that embed questions differently; others ignore it.

        Returns:
            ``(dim,)`` float32, L2-normalised.
        """
        vector: Vectors = self.embed_many([text], kind=kind)[0]
        return vector

    def embed_many(
        self, texts: Iterable[str], batch_size: int | None = None, *, kind: Kind = "document"
    ) -> Vectors:
        """Embed many texts, in batches of similar length.

        Args:
            texts: The texts; repetitions are computed once.
            batch_size: Texts per batch; the model's own when ``None``.
            kind: As for ``embed``.

        Returns:
            ``(n, dim)`` float32, rows L2-normalised, in the order given. A text without content may
            give a zero row where the model has nothing to embed (``hash`` does).

        Raises:
            ConfigError: An item is not a string, or ``batch_size`` is below 1.
            ServiceError: The model answered with wrong shapes or values that are not finite.
        """
        rows = self._checked(texts)
        size = self._batch_size if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"embed_many: batch_size must be at least 1, got {size}")
        if not rows:
            return np.empty((0, self._dim or 0), np.float32)
        places: dict[bytes, list[int]] = {}
        for place, text in enumerate(rows):
            role = kind if self._asymmetric else "document"
            places.setdefault(content_key(text, role), []).append(place)
        found = self._look_up(list(places))
        missing = [key for key in places if key not in found]
        # The longest first: a batch of similar lengths pads little, and memory peaks at once.
        missing.sort(key=lambda key: -len(rows[places[key][0]]))
        batches = [missing[start : start + size] for start in range(0, len(missing), size)]
        fresh: dict[bytes, Vectors] = {}

        def run(keys: list[bytes]) -> dict[bytes, Vectors]:
            vectors = self._compute([rows[places[key][0]] for key in keys], kind)
            computed = dict(zip(keys, vectors, strict=True))
            self._remember(computed)
            return computed

        for computed in self._in_order(run, batches):
            fresh.update(computed)
        found.update(fresh)
        out = np.empty((len(rows), self._dim or 0), np.float32)
        for key, where in places.items():
            out[where] = found[key]
        self._count(texts=len(rows), cached=len(rows) - len(fresh))
        return out

    def close(self) -> None:
        """Release sessions, connections and the cache; a second call does nothing."""
        if self._cache is not None:
            self._cache.clear()
        if self._disk is not None:
            self._disk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint!r})"

    @abc.abstractmethod
    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        """Embed one batch of 1 or more texts: ``(n, dim)``, normalised or not. Any thread."""

    def _checked(self, texts: Iterable[str]) -> list[str]:
        if isinstance(texts, str):
            raise ConfigError("embed_many takes a list of texts, got one str; use embed(text)")
        rows = list(texts)
        for place, text in enumerate(rows):
            if not isinstance(text, str):
                raise ConfigError(
                    f"embedding {self._name!r}: text {place} must be a str, "
                    f"got {type(text).__name__}"
                )
        return rows

    def _in_order(
        self,
        run: Callable[[list[bytes]], dict[bytes, Vectors]],
        batches: list[list[bytes]],
    ) -> Iterator[dict[bytes, Vectors]]:
        if self._concurrency == 1 or len(batches) < 2:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(min(self._concurrency, len(batches))) as pool:
            # In the caller's context: a canceled job ends what its calls wait for.
            futures = [pool.submit(copy_context().run, run, batch) for batch in batches]
            try:
                for future in futures:
                    yield future.result()
            finally:
                # After a failure nothing more is sent; what is in flight ends and is cached.
                for future in futures:
                    future.cancel()

    def _prefix_mark(self) -> str:
        """The prefixes' part of a fingerprint."""
        return "".join(
            f";{kind}_prefix={prefix!r}" for kind, prefix in self._prefixes.items() if prefix
        )

    def _compute(self, texts: list[str], kind: Kind) -> Vectors:
        start = time.perf_counter()
        raw = np.asarray(self._encode(_prefixed(texts, self._prefixes[kind]), kind), np.float32)
        if raw.ndim != 2 or raw.shape[0] != len(texts) or (self._dim and raw.shape[1] != self._dim):
            raise ServiceError(
                f"embedding {self._name!r} answered {len(texts)} texts with an array of shape "
                f"{raw.shape}, expected ({len(texts)}, {self._dim or 'dim'})"
            )
        if not np.isfinite(raw).all():
            raise ServiceError(f"embedding {self._name!r} answered with values that are not finite")
        self._dim = int(raw.shape[1])
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        vectors: Vectors = (raw / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
        self._count(batches=1, seconds=time.perf_counter() - start)
        return vectors

    def _look_up(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        found = self._cache.get_many(keys) if self._cache is not None else {}
        if self._disk is not None and len(found) < len(keys):
            rest = [key for key in keys if key not in found]
            stored = self._disk.get_many(self.fingerprint, rest)
            if stored and self._cache is not None:
                self._cache.put_many(stored)
            found.update(stored)
        if found and self._dim is None:
            self._dim = len(next(iter(found.values())))
        return found

    def _remember(self, vectors: dict[bytes, Vectors]) -> None:
        if self._cache is not None:
            self._cache.put_many(vectors)
        if self._disk is not None:
            self._disk.put_many(self.fingerprint, vectors)

    def _count(self, **more: float) -> None:
        with self._lock:
            now = {name: getattr(self._usage, name) + value for name, value in more.items()}
            self._usage = attrs.evolve(self._usage, **now)


def _prefixed(texts: list[str], prefix: str) -> list[str]:
    return [prefix + text for text in texts] if prefix else texts
