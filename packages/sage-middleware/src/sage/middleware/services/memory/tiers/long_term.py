"""Long-term memory: what is kept, behind a gate that keeps it clean.

A write passes the gate in this order: secrets are refused; echoes of what the session has just
recalled are refused; what is there already, word for word or nearly, is refreshed; the rest is
inserted with its provenance and the time from which it is valid.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from sage.middleware.services.memory.errors import (
    DuplicateIdError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.journal import Journal
from sage.middleware.services.memory.kv.keys import key_of
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.tiers.echo import RecallLog, shingles_of
from sage.middleware.services.memory.tiers.facts import facts_agree
from sage.middleware.services.memory.tiers.provenance import Provenance, check_metadata
from sage.middleware.services.memory.tiers.sensitive import find_secret
from sage.middleware.services.memory.vdb.filters import Where, matches, parse

FIELDS = ("_hash", "_scope", "_session", "_source", "_valid_from", "_valid_to")
_USE = "use"
_CANDIDATES = 8
Hit = dict[str, Any]


@attrs.frozen(kw_only=True)
class Written:
    """What became of a write.

    Attributes:
        status: ``inserted``, ``refreshed`` (it was there) or ``refused``.
        id: The entry that now holds the fact; for an echo the memory it repeats; else ``None``.
        reason: Why it was not inserted.
        score: Cosine to the entry that was refreshed, or share of the echo.
    """

    status: Literal["inserted", "refreshed", "refused"]
    id: str | None = None
    reason: str | None = None
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return attrs.asdict(self)


class LongTermMemory:
    """Facts with provenance and validity time in a ``VDB`` collection.

    Args:
        collection: Where the entries are.
        tiers: ``KV`` collection for counts of use.
        log: What sessions have recalled.
        duplicate_threshold: Cosine from which two texts count as one, if their numbers and
            negations agree.
        echo_threshold: Share of a text that was just recalled, from which it is an echo.
        refuse_secrets: Whether texts that hold secrets are refused.
        mode: How entries are searched; the collection's own way if ``None``.
        journal: Where changes are noted, to be undone with the checkpoints of a job.
    """

    def __init__(
        self,
        collection: Any,
        tiers: KVMemoryCollection,
        log: RecallLog,
        *,
        duplicate_threshold: float = 0.92,
        echo_threshold: float = 0.6,
        refuse_secrets: bool = True,
        mode: str | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._entries = collection
        self._journal = journal
        self._kv = tiers
        self._log = log
        self._duplicate = duplicate_threshold
        self._echo = echo_threshold
        self._refuse_secrets = refuse_secrets
        self._mode = mode
        self._lock = threading.RLock()
        for field in FIELDS:
            collection.add_metadata_field(field)

    # -- writing ---------------------------------------------------------------------------------

    def write(
        self,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        scope: str | None = None,
        provenance: Provenance | Mapping[str, Any] | None = None,
        valid_from: float | None = None,
        valid_to: float | None = None,
    ) -> Written:
        """Write a text through the gate.

        Args:
            text: The fact.
            metadata: JSON values by field; no field begins with ``_``.
            scope: Whose memory this is, such as a user; entries of other scopes are not seen.
            provenance: Where it comes from; its ``session`` decides what counts as an echo.
            valid_from: Seconds since 1970 from which it holds; now if ``None``.
            valid_to: When it ceases to hold, if that is known.

        Raises:
            InvalidInputError: ``text`` is not text, or validity ends before it begins.
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"text is {text!r}; expected text")
        user = check_metadata(metadata)
        origin = Provenance.of(provenance)
        refused = self._refused(text, origin.session)
        if refused is not None:
            return refused
        now = time.time()
        start = now if valid_from is None else float(valid_from)
        if valid_to is not None and valid_to <= start:
            raise InvalidInputError(f"valid_to is {valid_to!r}, before valid_from {start!r}")
        with self._lock:
            free, known = self._known(text, scope, start)
            if known is None:
                fields = self._fields(text, scope, origin, now, start, valid_to)
                self._note({free: text})
                try:
                    self._entries.insert(text, {**user, **fields}, free)
                except DuplicateIdError:
                    known = free, None  # another process wrote the same just now
                else:
                    return Written(status="inserted", id=free)
        entry, score = known
        self._used(entry, "seen", now)
        if valid_from is not None:
            self._begin_earlier(entry, start)
        reason = "known word for word" if score is None else "a near-duplicate is known"
        return Written(status="refreshed", id=entry, reason=reason, score=score)

    def _begin_earlier(self, entry: str, start: float) -> None:
        row = self._entries.get(entry)
        if row is not None and row["metadata"].get("_valid_from", start) > start:
            self._note({entry: row["text"]})
            self._entries.update(entry, metadata={"_valid_from": start}, merge=True)

    def supersede(
        self,
        old: str,
        text: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        provenance: Provenance | Mapping[str, Any] | None = None,
        at: float | None = None,
    ) -> Written:
        """Replace a fact by a newer one from ``at`` (default: now) on; the old one is kept.

        Both happen in one transaction. Secrets are refused; echoes and duplicates are not looked
        for.

        Raises:
            RowNotFoundError: There is no such entry.
            InvalidInputError: It is superseded already, or ``at`` is before it began.
        """
        user = check_metadata(metadata)
        refused = self._refused(text, None)
        if refused is not None:
            return refused
        now = time.time()
        moment = now if at is None else float(at)
        with self._lock:
            row = self._open_entry(old, moment)
            before = dict(row["metadata"])
            new = self._free_id(text, before.get("_scope"))
            fields = self._fields(
                text, before.get("_scope"), Provenance.of(provenance), now, moment, None
            )
            self._note({old: row["text"], new: text})
            self._entries.upsert(
                [row["text"], text],
                [
                    {**before, "_valid_to": moment, "_superseded_by": new},
                    {**user, **fields, "_supersedes": old},
                ],
                [old, new],
            )
        return Written(status="inserted", id=new, reason=f"supersedes {old}")

    def retire(self, entry: str, at: float | None = None) -> None:
        """End the validity of a fact at ``at`` (default: now); it is kept.

        Raises:
            RowNotFoundError: There is no such entry.
            InvalidInputError: It has ended already.
        """
        moment = time.time() if at is None else float(at)
        with self._lock:
            row = self._open_entry(entry, moment)
            self._note({entry: row["text"]})
            self._entries.update(entry, metadata={"_valid_to": moment}, merge=True)

    # -- reading ---------------------------------------------------------------------------------

    def recall(
        self,
        query: str,
        topk: int = 5,
        *,
        session: str | None = None,
        scope: str | None = None,
        where: Where | None = None,
        as_of: float | None = None,
        superseded: bool = False,
        threshold: float | None = None,
        mode: str | None = None,
        **options: Any,
    ) -> list[Hit]:
        """The facts that answer a query, best first.

        Args:
            query: Text.
            topk: Facts wanted at most.
            session: Who is shown them: from now on the session cannot store them again.
            scope: Only facts of this scope.
            where: A filter over metadata and provenance (``_session``, ``_source``, …).
            as_of: What held at this time, seconds since 1970; now if ``None``.
            superseded: Also facts that hold no more or not yet.
            threshold: Least score.
            mode: ``dense``, ``bm25`` or ``hybrid``.
            options: As for ``retrieve`` of the collection.

        Returns:
            Dicts ``id, text, metadata, score``.
        """
        limit = None if superseded else _holds(time.time() if as_of is None else float(as_of))
        hits: list[Hit] = self._entries.retrieve(
            query,
            topk=topk,
            where=_both(limit, _scope(scope), where),
            threshold=threshold,
            mode=mode or self._mode,
            **options,
        )
        if hits:
            now = time.time()
            for hit in hits:
                self._used(hit["id"], "recalled", now)
            if session is not None:
                self._log.log(session, hits)
        return hits

    def entries(
        self, *, scope: str | None = None, as_of: float | None = None, superseded: bool = False
    ) -> list[Hit]:
        """All facts, oldest write first."""
        limit = None if superseded else _holds(time.time() if as_of is None else float(as_of))
        return list(self._entries.scan(_both(limit, _scope(scope))))

    def history(self, entry: str) -> list[Hit]:
        """A fact with all it superseded and all that superseded it, oldest first.

        Raises:
            RowNotFoundError: There is no such entry.
        """
        row = self._get(entry)
        chain = [row]
        while (before := chain[0]["metadata"].get("_supersedes")) is not None:
            earlier = self._entries.get(before)
            if earlier is None:
                break
            chain.insert(0, earlier)
        while (after := chain[-1]["metadata"].get("_superseded_by")) is not None:
            later = self._entries.get(after)
            if later is None:
                break
            chain.append(later)
        return chain

    def use_of(self, entry: str) -> dict[str, Any]:
        """How often a fact was ``seen`` again and ``recalled``, and when last."""
        counts: dict[str, Any] = self._kv.get(key_of(_USE, entry), {})
        return {"seen": 0, "last_seen": None, "recalled": 0, "last_recalled": None, **counts}

    def forget(self, where: Where | None = None, *, ids: Iterable[str] | None = None) -> int:
        """Forget facts so that nothing of them is left on disk, logs and counts included.

        A fact that was superseded by a forgotten one stays superseded.
        """
        with self._lock:
            chosen = list(ids) if ids is not None else [r["id"] for r in self._entries.scan(where)]
            count: int = self._entries.forget(ids=chosen)
            self._log.forget(chosen)
            self._kv.forget([key_of(_USE, entry) for entry in chosen])
            if self._journal is not None:
                self._journal.forget(self._entries.name, chosen)
                self._journal.forget(self._kv.name, chosen)
        return count

    # -- the gate --------------------------------------------------------------------------------

    def _refused(self, text: str, session: str | None) -> Written | None:
        if not text.strip():
            return Written(status="refused", reason="empty")
        if self._refuse_secrets:
            kind = find_secret(text)
            if kind is not None:
                return Written(status="refused", reason=f"secret: {kind}")
        if session is not None:
            share, memory = self._log.echoed(session, text)
            if share >= self._echo:
                return Written(
                    status="refused", id=memory, reason="echo of what was recalled", score=share
                )
        return None

    def _known(
        self, text: str, scope: str | None, at: float
    ) -> tuple[str, tuple[str, float | None] | None]:
        """A free id for the text, and the entry that says the same and holds at that time.

        The entry comes with its cosine, or ``None`` if it is the text itself. The id is made of the
        text, so that of two processes with one fact only one can insert it.
        """
        base, number = _id_of(text, scope), 1
        free = base
        while (row := self._entries.get(free)) is not None:
            if matches(parse(_lasts(at)), row["metadata"]):
                return free, (free, None)
            number += 1  # the same was said before, and superseded since
            free = f"{base}-{number}"
        return free, self._similar(text, scope, at)

    def _free_id(self, text: str, scope: str | None) -> str:
        base, number = _id_of(text, scope), 1
        free = base
        while free in self._entries:
            number += 1
            free = f"{base}-{number}"
        return free

    def _similar(self, text: str, scope: str | None, at: float) -> tuple[str, float] | None:
        valid = _both(_lasts(at), {"_scope": scope})
        if self._duplicate >= 1 or not len(self._entries):
            return None
        if self._entries.dim is None:
            return self._same_words(text, valid)
        for hit in self._entries.retrieve(text, topk=_CANDIDATES, where=valid, mode="dense"):
            if hit["score"] < self._duplicate:
                break
            if facts_agree(text, hit["text"]):
                return hit["id"], hit["score"]
        return None

    def _same_words(self, text: str, valid: Where) -> tuple[str, float] | None:
        """Without vectors: the share of word triples that both texts have."""
        new = shingles_of(text)
        for hit in self._entries.retrieve(text, topk=_CANDIDATES, where=valid, mode="bm25"):
            old = shingles_of(hit["text"])
            share = len(new & old) / max(1, len(new | old))
            if share >= self._duplicate and facts_agree(text, hit["text"]):
                return hit["id"], share
        return None

    @staticmethod
    def _fields(
        text: str,
        scope: str | None,
        origin: Provenance,
        now: float,
        valid_from: float,
        valid_to: float | None,
    ) -> dict[str, Any]:
        return {
            **origin.to_fields(),
            "_hash": _digest(text),
            "_scope": scope,
            "_written": now,
            "_valid_from": valid_from,
            "_valid_to": valid_to,
        }

    def _get(self, entry: str) -> Hit:
        row: Hit | None = self._entries.get(entry)
        if row is None:
            raise RowNotFoundError(f"there is no memory with the id {entry!r}", ids=(entry,))
        return row

    def _open_entry(self, entry: str, moment: float) -> Hit:
        row = self._get(entry)
        fields = row["metadata"]
        if fields.get("_superseded_by") is not None or (fields.get("_valid_to") or moment) < moment:
            raise InvalidInputError(
                f"the memory {entry!r} holds no more; supersede what came after it: "
                f"{fields.get('_superseded_by')!r}"
            )
        if moment <= fields.get("_valid_from", moment - 1):
            raise InvalidInputError(
                f"the memory {entry!r} holds from {fields['_valid_from']!r} on; it cannot end "
                f"at {moment!r}"
            )
        return row

    def _note(self, after: Mapping[str, str | None]) -> None:
        if self._journal is not None:
            self._journal.rows(self._entries, after)

    def _used(self, entry: str, kind: str, now: float) -> None:
        key = key_of(_USE, entry)

        def count(stored: Any) -> dict[str, Any]:
            counts = {} if stored is ABSENT else dict(stored)
            number, last = counts.get(kind, 0) + 1, counts.get(f"last_{kind}")
            if self._journal is not None:
                self._journal.use(self._kv.name, key, kind, number, last)
            return {**counts, kind: number, f"last_{kind}": now}

        self._kv.update(key, count)


def _digest(text: str) -> str:
    """Equal for texts that differ in case, spaces or final marks only."""
    plain = " ".join(text.casefold().split()).rstrip(".!。 ")
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _id_of(text: str, scope: str | None) -> str:
    return hashlib.blake2b(
        f"{scope or ''}\0{_digest(text)}".encode("utf-8", "surrogatepass"), digest_size=12
    ).hexdigest()


def _lasts(at: float) -> dict[str, Any]:
    """Has not ended at that time, though it may not have begun."""
    ends = [{"_valid_to": {"$exists": False}}, {"_valid_to": None}, {"_valid_to": {"$gt": at}}]
    return {"$or": ends}


def _holds(at: float) -> dict[str, Any]:
    # $not also takes entries that were inserted past the gate and have no such field.
    return {"$and": [{"_valid_from": {"$not": {"$gt": at}}}, _lasts(at)]}


def _scope(scope: str | None) -> dict[str, Any] | None:
    return None if scope is None else {"_scope": scope}


def _both(*filters: Where | None) -> dict[str, Any]:
    parts = [f for f in filters if f]
    if len(parts) == 1:
        return dict(parts[0])
    return {"$and": parts} if parts else {}
