"""What a server says about its limits in the headers of a response. Pure.

Source: "Rate limits in headers" of OpenAI's API reference; most compatible servers send the same.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NamedTuple, Protocol

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|d)")
_SECONDS: Final = {
    "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0,
    "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9,
}  # fmt: skip


class Headers(Protocol):
    """Headers of a response: a mapping, or the standard library's message."""

    def get(self, name: str, /) -> Any:
        """The value of a header, or ``None``."""


class Facts(NamedTuple):
    """Limits per minute and what is left of them; ``None``: not said, or not per minute."""

    limit_requests: float | None = None
    remaining_requests: float | None = None
    limit_tokens: float | None = None
    remaining_tokens: float | None = None


NOTHING: Final = Facts()


def read_facts(headers: Headers) -> Facts:
    """The facts in a response's headers (names are looked up in lower case).

    A limit that takes more than a minute to be whole again is one per day: calls are not spread
    over a day because of it, and its end shows as a refusal with ``Retry-After``.
    """
    requests = headers.get("x-ratelimit-limit-requests")
    tokens = headers.get("x-ratelimit-limit-tokens")
    if requests is None and tokens is None:
        return NOTHING
    return Facts(*_pair(headers, "requests", requests), *_pair(headers, "tokens", tokens))


def _pair(headers: Headers, kind: str, limit: str | None) -> tuple[float | None, float | None]:
    reset = seconds_of(headers.get(f"x-ratelimit-reset-{kind}"))
    if reset is not None and reset > 60:
        return None, None
    found = _number(limit)
    left = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
    return (found, left) if found else (None, None)


def seconds_of(text: str | None) -> float | None:
    """Seconds of ``1m30s``, ``250ms`` or a plain number of seconds; ``None`` for anything else."""
    if text is None:
        return None
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number
    parts = _DURATION.findall(text)
    if not parts or "".join(size + unit for size, unit in parts) != text:
        return None
    return sum(float(size) * _SECONDS[unit] for size, unit in parts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number >= 0 else None
