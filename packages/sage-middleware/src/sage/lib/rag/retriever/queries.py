"""Other ways to ask the same: by a model's reply, or by rules."""

from __future__ import annotations

import json
import re

from sage.middleware.models.chat import spoken

_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):]|Q\d{1,2}[.:])\s*")
_NAME = re.compile(
    r"[\"“«]([^\"”»]{2,80})[\"”»]|((?:[A-ZÀ-Þ][\w'’.-]*|\d[\w.,-]*)(?:\s+(?:of|the|de|von|van|and)?"
    r"\s*(?:[A-ZÀ-Þ][\w'’.-]*|\d[\w.,-]*))*)"
)
_CLAUSE = re.compile(r"\s*(?:[;?!。？！]|,\s|\b(?:and|or|und|oder|et|ou|y)\b)\s*")
LONGEST = 500
"""Characters of a rewritten question; what is longer is no question."""


def read_queries(reply: str, question: str, count: int) -> list[str]:
    """The questions in a model's reply: one per line, or a JSON list of strings.

    Numbers, bullets and quotes around them go, as do introductions (a line that ends with a
    colon), repetitions, and the question itself. Empty when there is none.
    """
    text = spoken(reply)
    lines = _json_strings(text)
    if lines is None:
        lines = [line for line in text.splitlines() if not line.strip().startswith("```")]
    seen = {_plain(question)}
    found: list[str] = []
    for line in lines:
        query = _MARK.sub("", line).strip().strip("\"'“”`*").strip()
        if not query or query.endswith(":") or len(query) > LONGEST or _plain(query) in seen:
            continue
        seen.add(_plain(query))
        found.append(query)
    return found[:count]


def lexical_queries(question: str, content: str, count: int) -> list[str]:
    """Other ways to ask, made by rules: content words alone, names alone, single clauses.

    Args:
        question: The question.
        content: Its words without function words, in order.
        count: At most so many.
    """
    # The first word of a question is capitalised whatever it is.
    first, _, rest = question.strip().partition(" ")
    names = [a or b for a, b in _NAME.findall(rest)]
    if first[1:] != first[1:].lower() or first.casefold() in content.casefold().split():
        names = [first, *names] if first[:1].isupper() else names
    clauses = [c for c in _CLAUSE.split(question) if len(c.split()) >= 3]
    candidates = [content, " ".join(names), *(clauses if len(clauses) > 1 else [])]
    seen = {_plain(question)}
    found = []
    for candidate in candidates:
        key = _plain(candidate)
        if key and key not in seen:
            seen.add(key)
            found.append(candidate.strip())
    return found[:count]


def _json_strings(text: str) -> list[str] | None:
    start, end = text.find("["), text.rfind("]")
    if not 0 <= start < end:
        return None
    try:
        values = json.loads(text[start : end + 1])
    except json.JSONDecodeError:
        return None
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
