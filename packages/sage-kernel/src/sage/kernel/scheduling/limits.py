"""Configured limits: the setting ``limits``, and which entry is whose. Pure.

Predecessor: ``sage.kernel.graph.settings``; successor: ``sage.kernel.scheduling.registry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from sage.common.errors import ConfigError

DEFAULT: Final = "default"


@attrs.frozen
class Limit:
    """Limits of one model with one key.

    Attributes:
        rpm: Requests per minute; ``None``: what the server's headers say, else none.
        tpm: Tokens per minute, input and output; likewise.
    """

    rpm: float | None = None
    tpm: float | None = None


def read_limits(given: Any, where: str = "limits") -> dict[str, Limit]:
    """The entries of a ``limits`` setting.

    Args:
        given: ``{"openai/gpt-4o-mini": {"rpm": 500, "tpm": 200000}, "openai": {...},
            "default": {...}}``.
        where: What to call it in messages.

    Raises:
        ConfigError: It is no such mapping; names the entry and the key.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{where} must map 'PROVIDER/MODEL', 'PROVIDER' or 'default' to limits such as "
            f"{{'rpm': 500, 'tpm': 200000}}, got {given!r}"
        )
    return {str(name): _limit(f"{where}.{name}", entry) for name, entry in given.items()}


def _limit(where: str, entry: Any) -> Limit:
    if not isinstance(entry, Mapping):
        raise ConfigError(
            f"{where}: expected a mapping such as {{'rpm': 500, 'tpm': 200000}}, got {entry!r}"
        )
    for key, value in entry.items():
        if key not in ("rpm", "tpm"):
            raise ConfigError(
                f"{where}: unknown key {key!r}; expected 'rpm' (requests per minute) and 'tpm' "
                "(tokens per minute)"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < float("inf")):
            raise ConfigError(f"{where}.{key}: must be a number above 0, got {value!r}")
    return Limit(entry.get("rpm"), entry.get("tpm"))


def find_limit(
    limits: Mapping[str, Limit], provider: str, model: str, *, local: bool
) -> Limit | None:
    """The entry for a model: its own, else the provider's, else the default.

    Args:
        local: The server is on this machine or in a private network: the default, which is meant
            for providers, does not apply to it.
    """
    for name in (f"{provider}/{model}", provider):
        if name in limits:
            return limits[name]
    return None if local else limits.get(DEFAULT)
