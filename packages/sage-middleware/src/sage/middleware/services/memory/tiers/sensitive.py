"""Secrets by their looks: what must not be written to long-term memory.

Patterns are those of issued credentials with a fixed prefix or shape, of private keys, of words
that introduce a password, and of numbers with a check digit. They find what looks like a secret;
a secret without any shape passes.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from sage.common.secrets import redact

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("AWS access key", re.compile(r"\b(?:AKIA|ASIA|AGPA|AROA|AIDA)[A-Z0-9]{16}\b")),
    ("GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,})\b")),
    ("GitLab token", re.compile(r"\bglpat-[\w-]{20,}")),
    ("Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("Google API key", re.compile(r"\bAIza[\w-]{35}\b")),
    ("Stripe key", re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b")),
    ("API key", re.compile(r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}")),
    ("Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")),
    ("npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    ("PyPI token", re.compile(r"\bpypi-[\w-]{50,}")),
    ("JSON web token", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")),
    (
        "credentials in a URL",
        re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]{3,}@"),
    ),
    ("bearer token", re.compile(r"\bbearer\s+[\w.~+/-]{16,}=*", re.IGNORECASE)),
)
_NAMED = re.compile(
    r"\b(?:pass(?:word|wd|phrase|code)|pwd|secret(?:[ _-]?key)?|api[ _-]?key|access[ _-]?key|"
    r"(?:auth|access|api|bearer|refresh)[ _-]?token|token|private[ _-]?key|client[ _-]?secret)\b"
    r"(?:\s+(?:of|for|to|on|at)(?:\s+[\w'.-]+){1,4}?)?"
    r"[\"']?\s*(?:[:=]|\bis\b|\bwas\b|\bto\b)\s*[\"'`]?(?P<value>[^\s\"'`,;]{4,})",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?!\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")


def find_secret(text: str) -> str | None:
    """What kind of secret a text seems to hold, or ``None``; never the secret itself."""
    if redact(text) != text:
        return "secret of the configuration"
    for kind, pattern in _PATTERNS:
        if pattern.search(text):
            return kind
    for match in _NAMED.finditer(text):
        if _looks_chosen(match["value"].rstrip(".!?)")):
            return "password or key"
    if any(_is_card(match[0]) for match in _CARD.finditer(text)):
        return "payment card number"
    if any(_is_iban(match[0]) for match in _IBAN.finditer(text)):
        return "bank account number"
    return None


def _looks_chosen(value: str) -> bool:
    """Tells a password from a word of a sentence ("the password is wrong")."""
    if len(value) < 4 or not value.isascii():
        return False
    kinds = [
        any(c.islower() for c in value),
        any(c.isupper() for c in value[1:]),
        any(c.isdigit() for c in value),
        any(not c.isalnum() and c not in "-_/" for c in value),
    ]
    if kinds[2] and (kinds[0] or kinds[1] or kinds[3]):
        return True
    if value.isdigit():
        return True
    return sum(kinds) >= 2 or (len(value) >= 20 and _entropy(value) > 3.5)


def _entropy(value: str) -> float:
    """Bits per character."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


def _is_card(found: str) -> bool:
    """Luhn check digit (ISO/IEC 7812-1) and a first digit that payment networks use."""
    digits = [int(c) for c in found if c.isdigit()]
    if digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) < 2:
        return False
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _is_iban(found: str) -> bool:
    """Check digits of ISO 13616: the rearranged number is 1 modulo 97."""
    plain = found.replace(" ", "")
    rearranged = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in rearranged)) % 97 == 1
