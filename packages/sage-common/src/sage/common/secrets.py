"""Secrets: values that are used but never shown.

A ``Secret`` holds either a value or a reference (``env:NAME``, ``file:path``) that is read when it
is needed. Its text forms are masked, equality takes constant time, and it is refused by JSON. A
reference travels in a pickle as the reference; a bare value does not travel at all.

Every value that was ever held is also known to ``redact``, which logs and the command line put
their text through.

Successor: ``sage.common.config``. Imports nothing heavy.
"""

from __future__ import annotations

import functools
import hmac
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from sage.common.errors import ConfigError

MASK = "********"

# Shorter ones (``test``, ``EMPTY`` for a local server) would blank out unrelated words of logs
# and results. Source: real keys and passwords have at least eight characters (NIST SP 800-63B).
_SHORTEST_REDACTED = 8

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:(?!//).+")
_known: set[str] = set()


def is_reference(text: str) -> bool:
    """Whether ``text`` is a whole secret reference (``file://`` addresses are not)."""
    return _REFERENCE.fullmatch(text) is not None


class Secret:
    """A masked value.

    Args:
        value: The value, or ``None`` when ``reference`` is given.
        reference: ``env:NAME`` or ``file:path``; read on the first ``reveal()``.
        base: Folder that a relative ``file:`` path is resolved against.
        origin: Where the reference was written, for messages (``config.yaml: generator.api_key``).
    """

    __slots__ = ("_base", "_origin", "_reference", "_value")

    _value: str | None
    _reference: str | None
    _base: str
    _origin: str

    def __init__(
        self,
        value: str | None = None,
        *,
        reference: str | None = None,
        base: str | os.PathLike[str] = "",
        origin: str = "",
    ) -> None:
        if (value is None) == (reference is None):
            raise TypeError("Secret takes a value or a reference, and exactly one of them")
        if value is not None and not isinstance(value, str):
            raise TypeError(f"a secret must be a str, got {type(value).__name__}")
        put = object.__setattr__
        put(self, "_value", value)
        put(self, "_reference", reference)
        put(self, "_base", os.fspath(base))
        put(self, "_origin", origin)
        if value is not None:
            remember(value)

    @classmethod
    def parse(cls, text: str, *, base: str | os.PathLike[str] = "", origin: str = "") -> Secret:
        """A secret from what a configuration says: a reference, else the value itself."""
        if is_reference(text):
            return cls(reference=text, base=base, origin=origin)
        return cls(text)

    @property
    def reference(self) -> str | None:
        """The reference this secret is read from, or ``None`` for a value."""
        return self._reference

    def reveal(self) -> str:
        """Return the value, reading the reference the first time.

        Raises:
            ConfigError: The variable is not set or the file cannot be read.
        """
        if self._value is None:
            value = self._read(self._reference or "")
            object.__setattr__(self, "_value", value)
            remember(value)
        return self._value or ""

    def _read(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        where = f"{self._origin}: " if self._origin else ""
        if kind == "env":
            value = os.environ.get(name)
            if value is None:
                raise ConfigError(
                    f"{where}the secret {reference!r} refers to the environment variable {name!r}, "
                    f"which is not set; set it, or point the key elsewhere",
                    reference=reference,
                )
            return value
        path = Path(name).expanduser()
        if not path.is_absolute():
            root = Path(self._base or ".").resolve()
            path = (root / path).resolve()
            if not path.is_relative_to(root):
                raise ConfigError(
                    f"{where}the secret {reference!r} leaves the folder {str(root)!r}; "
                    "write an absolute path to read a file elsewhere",
                    reference=reference,
                )
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                f"{where}the secret {reference!r} cannot be read from {str(path)!r}: {reason}",
                reference=reference,
            ) from exc

    def __repr__(self) -> str:
        return f"Secret({self._reference or MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return self._value != ""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())
        return NotImplemented

    def __hash__(self) -> int:
        return hash(("Secret", self.reveal()))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reference is None:
            raise TypeError(
                "a secret value is never pickled; give the key as a reference (env:NAME or "
                "file:path), which is read again where it arrives"
            )
        return (_referred, (self._reference, self._base, self._origin))


def _referred(reference: str, base: str, origin: str) -> Secret:
    return Secret(reference=reference, base=base, origin=origin)


def remember(value: str) -> None:
    """Have ``redact`` mask ``value`` from now on (values under eight characters are ignored)."""
    if len(value) >= _SHORTEST_REDACTED:
        _known.add(value)


def redact(text: str) -> str:
    """Return ``text`` with every known secret value masked."""
    return _pattern(len(_known)).sub(MASK, text) if _known else text


@functools.lru_cache(maxsize=1)
def _pattern(count: int) -> re.Pattern[str]:
    # Values are only ever added, so their number tells whether the pattern is still right. Longer
    # ones first: one secret may begin another.
    values = sorted(_known.copy(), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, values)))
