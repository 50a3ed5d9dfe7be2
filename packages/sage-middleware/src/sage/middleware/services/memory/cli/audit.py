"""What is wrong with the content of a collection: duplicates, secrets, gaps, dead weight."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from sage.middleware.services.memory.kv.keys import key_of
from sage.middleware.services.memory.tiers.facts import facts_agree
from sage.middleware.services.memory.tiers.sensitive import find_secret

PROBLEMS = ("secret", "duplicate", "near-duplicate", "no provenance")
"""Findings that something should be done about; the others are for information."""

_BLOCK = 512
NEAR_ROWS = 20_000
"""Near-duplicates are looked for in collections of at most so many rows: every pair is compared."""

Finding = dict[str, Any]


def audit_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    threshold: float = 0.95,
    use: Callable[[str], Mapping[str, Any] | None] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Finding]:
    """Findings about the rows of a ``VDB`` collection: ``finding, id, detail, other``.

    Args:
        rows: As ``scan(with_vectors=True)`` gives them; vectors L2-normalised.
        threshold: Cosine from which two texts are near-duplicates.
        use: How often a row was ``recalled``; ``None`` where that is not kept.
        advance: Called with how many rows are done.
    """
    findings: list[Finding] = []
    first: dict[tuple[str, str], str] = {}
    texts: list[tuple[str, str, str]] = []
    vectors: list[Any] = []
    now = time.time()
    for row in rows:
        meta, text = row["metadata"], row["text"]
        scope = str(meta.get("_scope") or "")
        ended = meta.get("_valid_to")
        if ended is not None and ended <= now:
            detail = "superseded" if meta.get("_superseded_by") else "its validity has ended"
            findings.append(_finding("expired", row["id"], detail, meta.get("_superseded_by")))
        else:
            same = first.setdefault((scope, " ".join(text.casefold().split())), row["id"])
            if same != row["id"]:
                findings.append(_finding("duplicate", row["id"], "the same text", same))
            elif row.get("vector") is not None and len(texts) <= NEAR_ROWS:
                texts.append((row["id"], text, scope))
                vectors.append(row["vector"])
        kind = find_secret(text) or find_secret(orjson.dumps(meta).decode())
        if kind is not None:
            findings.append(_finding("secret", row["id"], kind))
        if not any(meta.get(key) for key in ("_source", "source", "_session", "_job", "url")):
            findings.append(_finding("no provenance", row["id"], "nothing says where it is from"))
        if use is not None and not (use(row["id"]) or {}).get("recalled"):
            findings.append(_finding("never recalled", row["id"], "no query has found it yet"))
        advance(1)
    if len(texts) > NEAR_ROWS:
        findings.append(_finding("not checked", "", f"near-duplicates: more than {NEAR_ROWS} rows"))
    elif texts:
        findings += _near(texts, np.asarray(vectors, np.float32), threshold)
    return findings


def audit_entries(entries: Iterable[tuple[str, Any]]) -> list[Finding]:
    """Findings about the keys and values of a ``KV`` collection: secrets and equal values."""
    findings: list[Finding] = []
    seen: dict[bytes, str] = {}
    for key, value in entries:
        shown = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
        kind = find_secret(shown.decode())
        if kind is not None:
            findings.append(_finding("secret", key, kind))
        same = seen.setdefault(shown, key)
        if same != key and len(shown) > 16:
            findings.append(_finding("same value", key, "another key has this value", same))
    return findings


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings of each kind."""
    counts: dict[str, int] = defaultdict(int)
    for finding in findings:
        counts[finding["finding"]] += 1
    return dict(counts)


def use_in(tiers: Any) -> Callable[[str], Mapping[str, Any] | None]:
    """How often long-term memories were used, as their service notes it in ``tiers``."""

    def use(entry: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = tiers.get(key_of("use", entry))
        return found

    return use


def _near(texts: list[tuple[str, str, str]], vectors: Any, threshold: float) -> list[Finding]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.maximum(lengths, 1e-12)
    findings: list[Finding] = []
    reported: set[int] = set()
    for start in range(0, len(texts), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        for a, b in np.argwhere(scores >= threshold):
            older, newer = start + int(a), int(b)
            if newer <= older or newer in reported or texts[older][2] != texts[newer][2]:
                continue
            if facts_agree(texts[older][1], texts[newer][1]):
                reported.add(newer)
                findings.append(
                    _finding(
                        "near-duplicate",
                        texts[newer][0],
                        f"cosine {float(scores[a, b]):.3f}",
                        texts[older][0],
                    )
                )
    return findings


def _finding(finding: str, row: str, detail: str, other: str | None = None) -> Finding:
    return {"finding": finding, "id": row, "detail": detail, "other": other}
