"""What kind of answer a question asks for, told by its words."""

from __future__ import annotations

import re

_RULES: dict[str, tuple[str, ...]] = {
    "date": (
        "when",
        "what (?:year|years|date|day|month|decade|century|time)",
        "which (?:year|date|day|month|decade|century)",
        "how (?:old|early|late|recently)",
    ),
    "number": (
        "how (?:many|much|long|large|far|tall|big|often|high|deep|wide|fast|heavy|close)",
        "what (?:percent|percentage|number|amount|fraction|proportion|population|size|rate)",
        "what (?:is|was|were) the (?:percent|percentage|number|population|amount)",
        "what (?:price|cost)",
    ),
    "person": (
        "who|whom|whose",
        "(?:what|which) (?:person|people|man|woman|author|scientist|king|president)",
    ),
    "place": (
        "where",
        "(?:what|which) (?:country|countries|city|cities|state|states|place|region|area|river)",
        "(?:what|which) (?:continent|county|province|island|town|location|ocean|sea|mountain)",
        "(?:what|which) nation",
    ),
    "reason": (
        "why",
        "how (?:did|do|does|can|could|is|was|were|are)",
        "what (?:reason|caused|causes)",
    ),
    "name": (
        "which",
        "what(?:'s| is| was)? (?:the )?name",
        "what (?:type|kind) of",
        "named|called",
    ),
}
_COMPILED = {kind: re.compile(rf"\b(?:{'|'.join(words)})\b") for kind, words in _RULES.items()}


def kind_of(question: str) -> str:
    """``date``, ``number``, ``person``, ``place``, ``reason``, ``name`` or ``other``.

    The kind whose words come first in the question wins.
    """
    text = question.lower()
    found = [
        (match.start(), kind) for kind, rule in _COMPILED.items() if (match := rule.search(text))
    ]
    return min(found, default=(0, "other"))[1]
