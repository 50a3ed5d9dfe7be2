"""Collections whose methods are called by name, and ``RemoteKVCollection``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from sage.middleware.services.memory.errors import (
    CollectionLockedError,
    RowNotFoundError,
)
from sage.middleware.services.memory.kv.batch import Collected, check_ttl
from sage.middleware.services.memory.kv.keys import check_key
from sage.middleware.services.memory.memory_collection.kv_collection import ABSENT
from sage.middleware.services.memory.rest.calls import ABSENT_MARK
from sage.middleware.services.memory.rest.remote_vdb import RemoteBase

_PAGE = 1000
_TRIES = 100


class RemoteCalls(RemoteBase):
    """A collection whose methods are called by name."""

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        body = {
            "method": method,
            "args": [ABSENT_MARK if value is ABSENT else value for value in args],
            "kwargs": {k: ABSENT_MARK if v is ABSENT else v for k, v in kwargs.items()},
        }
        result = self._ask("POST", "call", body=body)["result"]
        return ABSENT if result == ABSENT_MARK else result


class RemoteBatch(Collected[list[Any]]):
    """Puts and deletes that happen together, sent as one request.

    Reading from the collection meanwhile does not see them yet.
    """

    def put(self, key: str, value: Any, ttl: float | None = None) -> Self:
        """Set a key; ``ttl`` in seconds, from the moment the batch is applied."""
        check_ttl(ttl, 0.0)
        self._changes.append(["put", check_key(key), value, ttl])
        return self

    def delete(self, key: str) -> Self:
        """Remove a key, if it is there."""
        self._changes.append(["delete", check_key(key)])
        return self


class RemoteKVCollection(RemoteCalls):
    """A ``KV`` collection of a server. Values are JSON: no bytes, no dates."""

    def put(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Set a key; ``ttl`` in seconds."""
        self._call("put", key, value, ttl)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        found = self._call("get", key, ABSENT)
        return default if found is ABSENT else found

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise RowNotFoundError(f"collection {self.name!r} has no key {key!r}", ids=(key,))
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, ABSENT) is not ABSENT

    def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return bool(self._call("delete", key))

    def compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: float | None = None
    ) -> bool:
        """Set a key only if it has the value that is expected; whether it was set."""
        return bool(self._call("compare_and_set", key, expected, value, ttl))

    def update(self, key: str, change: Callable[[Any], Any], ttl: float | None = None) -> Any:
        """Replace a value by what ``change`` makes of it; ``change`` may be called several times.

        Raises:
            CollectionLockedError: Others changed the key each time in between.
        """
        for _ in range(_TRIES):
            before = self.get(key, ABSENT)
            after = change(before)
            if self.compare_and_set(key, before, after, ttl):
                return after
        raise CollectionLockedError(
            f"the key {key!r} was changed by others {_TRIES} times in between", path=self.name
        )

    def ttl(self, key: str) -> float | None:
        """Seconds until a key is gone, ``None`` if it stays."""
        left: float | None = self._call("ttl", key)
        return left

    def put_many(
        self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], ttl: float | None = None
    ) -> int:
        """Set many keys at once, all or none."""
        return int(self._call("put_many", dict(items), ttl))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Values of those keys that are there, all of one moment."""
        found: dict[str, Any] = self._call("get_many", list(keys))
        return found

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove keys at once; how many were there."""
        return int(self._call("delete_many", list(keys)))

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with ``prefix``; how many."""
        return int(self._call("delete_prefix", prefix))

    def batch(self) -> RemoteBatch:
        """Puts and deletes that happen together: ``with kv.batch() as b: b.put(...)``."""
        return RemoteBatch(lambda changes: self._call("batch", changes))

    def scan(
        self, prefix: str = "", *, limit: int | None = None, after: str | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Keys that begin with ``prefix`` and their values, in order, read in pages."""
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            page = self._call("scan", prefix, limit=size, after=after)
            yield from ((key, value) for key, value in page)
            if len(page) < size:
                return
            after = page[-1][0]
            left = None if left is None else left - size

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``, in order."""
        return (key for key, _ in self.scan(prefix))

    def count(self, prefix: str = "") -> int:
        """How many keys begin with ``prefix``."""
        return int(self._call("count", prefix))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def create_index(self, name: str = "text", *, fields: Sequence[str], **options: Any) -> None:
        """Make the full-text index."""
        body = {"name": name, "options": {"fields": list(fields), **options}}
        self._ask("POST", "indexes", body=body)

    def search(self, query: str, topk: int = 10, prefix: str = "") -> list[dict[str, Any]]:
        """Entries whose indexed fields match words of a query."""
        found: list[dict[str, Any]] = self._call("search", query, topk, prefix)
        return found

    def retrieve(self, query: str, topk: int = 10, **options: Any) -> list[dict[str, Any]]:
        """``search`` in the form of the other collections."""
        found: list[dict[str, Any]] = self._call("retrieve", query, topk, **options)
        return found

    def purge_expired(self) -> int:
        """Remove the keys whose time has run out."""
        return int(self._call("purge_expired"))

    def forget(self, keys: Iterable[str] = (), *, prefix: str | None = None) -> int:
        """Remove entries so that no file of the server holds anything of them."""
        return int(self._call("forget", list(keys), prefix=prefix))
