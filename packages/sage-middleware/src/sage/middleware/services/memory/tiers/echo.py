"""What a session has just recalled, so that it is not stored again as if it were new.

A memory that is recalled, answered with and written back would multiply with every turn. The log
holds the memories a session has seen; a text that says little else is an echo of them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from sage.middleware.search.text import tokenize
from sage.middleware.services.memory.journal import Journal
from sage.middleware.services.memory.kv.keys import key_of, last_part
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.tiers.facts import content_words, states_more, unstamped

_ROOT = "recalled"
_SESSIONS = 256
_WHOLE = 0.8
Shingles = frozenset[tuple[str, ...]]


@attrs.frozen
class _Seen:
    text: str
    shingles: Shingles

    @classmethod
    def of(cls, text: str) -> _Seen:
        plain = unstamped(text)
        return cls(plain, shingles_of(plain))


class RecallLog:
    """The memories each session has seen lately, in a ``KV`` collection.

    Args:
        collection: Where the log is kept.
        size: Memories per session; the ones seen longest ago go first.
        ttl: Seconds until an entry is forgotten.
        journal: Where changes are noted, to be undone with the checkpoints of a job.
    """

    def __init__(
        self,
        collection: KVMemoryCollection,
        size: int = 256,
        ttl: float | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._journal = journal
        self._kv = collection
        self._size = size
        self._ttl = ttl
        self._lock = threading.RLock()
        self._cache: OrderedDict[str, dict[str, _Seen]] = OrderedDict()

    def log(self, session: str, memories: Iterable[Mapping[str, Any]]) -> None:
        """Note that a session was shown these memories (``id``, ``text``)."""
        if not self._size:
            return
        with self._lock:
            seen = self._seen(session)
            now = time.time()
            batch = self._kv.batch()
            changed: dict[str, Any] = {}
            for memory in memories:
                key = key_of(_ROOT, session, memory["id"])
                changed[key] = {"text": memory["text"], "at": now}
                batch.put(key, changed[key], self._ttl)
                seen.pop(memory["id"], None)  # the newest is last
                seen[memory["id"]] = _Seen.of(memory["text"])
            while len(seen) > self._size:
                oldest = next(iter(seen))
                del seen[oldest]
                key = key_of(_ROOT, session, oldest)
                changed[key] = ABSENT
                batch.delete(key)
            if self._journal is not None:
                self._journal.keys(self._kv, changed)
            batch.commit()

    def echoed(self, session: str, text: str) -> tuple[float, str | None]:
        """How much of a text the session had just recalled.

        Two shares are taken, and the greater counts: of the text's runs of three words, those that
        recalled memories have; and, for memories the text contains (nearly) whole, of its content
        words those that they have ("I remember that …"). A text with a number, a name or a
        negation that they have not is no echo.

        Returns:
            The share, 0 to 1, and the id of the memory that has most of the text.
        """
        with self._lock:
            seen = dict(self._seen(session))
        plain = unstamped(text)
        new = shingles_of(plain)
        if not new:
            return 0.0, None
        known: set[tuple[str, ...]] = set()
        said: list[str] = []
        contained: set[str] = set()
        best, most = None, 0
        for memory, entry in seen.items():
            shared = new & entry.shingles
            if not shared:
                continue
            known |= shared
            said.append(entry.text)
            if len(shared) >= _WHOLE * len(entry.shingles):
                contained |= content_words(entry.text)
            if len(shared) > most:
                best, most = memory, len(shared)
        if best is None or states_more(plain, "\n".join(said)):
            return 0.0, best
        words = content_words(plain)
        return max(len(known) / len(new), len(words & contained) / len(words)), best

    def forget(self, memories: Iterable[str]) -> None:
        """Remove memories from the log of every session."""
        gone = set(memories)
        with self._lock:
            self._cache.clear()
            keys = self._kv.keys(f"{_ROOT}/")
            self._kv.forget([key for key in keys if last_part(key) in gone])

    def clear(self, session: str) -> None:
        """Forget what a session has seen."""
        with self._lock:
            self._cache.pop(session, None)
            prefix = f"{key_of(_ROOT, session)}/"
            if self._journal is not None:
                self._journal.keys(self._kv, dict.fromkeys(self._kv.keys(prefix), ABSENT))
            self._kv.delete_prefix(prefix)

    def _seen(self, session: str) -> dict[str, _Seen]:
        prefix = f"{key_of(_ROOT, session)}/"
        cached = self._cache.get(session)
        # Another process may have added to the log, or entries may have run out.
        if cached is not None and len(cached) == self._kv.count(prefix):
            self._cache.move_to_end(session)
            return cached
        rows = sorted(self._kv.scan(prefix), key=lambda row: row[1]["at"])
        loaded = {last_part(key): _Seen.of(value["text"]) for key, value in rows}
        self._cache[session] = loaded
        while len(self._cache) > _SESSIONS:
            self._cache.popitem(last=False)
        return loaded


def shingles_of(text: str) -> Shingles:
    """Runs of three words of a text; one shorter run if it has fewer."""
    words = tokenize(text)
    if len(words) < 3:
        return frozenset({tuple(words)}) if words else frozenset()
    return frozenset(zip(words, words[1:], words[2:], strict=False))
