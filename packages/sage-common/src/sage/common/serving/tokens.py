"""Tokens of a server: shown once, kept as hashes.

The file has mode 0600 and holds SHA-256 hashes. A token has 256 random bits, so that a hash without
salt and stretching cannot be reversed or looked up.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, NotFoundError
from sage.common.paths import write_secret

_SHORTEST = 16


def new_token(prefix: str) -> str:
    """A random token; ``prefix`` says what it is for, so that one found in a file is recognised."""
    return prefix + secrets.token_urlsafe(32)


class TokenFile:
    """The tokens a server accepts.

    Args:
        path: The file; it need not exist.
        prefix: How its tokens begin.
    """

    def __init__(self, path: str | os.PathLike[str], prefix: str) -> None:
        self.path = Path(path)
        self._prefix = prefix

    def names(self) -> list[dict[str, Any]]:
        """Name and time of creation of each token."""
        return [{"name": t["name"], "created": t["created"]} for t in self._read()]

    def new(self, name: str = "default") -> str:
        """Make a token; returns it. It cannot be shown again.

        Raises:
            ConfigError: A token has that name.
        """
        known = self._read()
        if any(entry["name"] == name for entry in known):
            raise ConfigError(f"there is a token {name!r} already; revoke it first")
        token = new_token(self._prefix)
        self.add(token, name)
        return token

    def add(self, token: str, name: str) -> None:
        """Accept a token that was made elsewhere, instead of the one of that name."""
        others = [entry for entry in self._read() if entry["name"] != name]
        self._write([*others, {"name": name, "sha256": _hash(token), "created": time.time()}])

    def revoke(self, name: str) -> None:
        """Refuse a token from now on; running servers see it at once.

        Raises:
            NotFoundError: No token has that name.
        """
        known = self._read()
        left = [entry for entry in known if entry["name"] != name]
        if len(left) == len(known):
            raise NotFoundError(
                f"there is no token {name!r}; there are "
                f"{', '.join(repr(e['name']) for e in known) or 'none'}"
            )
        self._write(left)

    def accepts(self, token: str) -> bool:
        """Whether a token is one of the file's; in constant time for each."""
        given = _hash(token)
        matches = [hmac.compare_digest(given, entry["sha256"]) for entry in self._read()]
        return any(matches)

    def _read(self) -> list[dict[str, Any]]:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            tokens: list[dict[str, Any]] = json.loads(raw)["tokens"]
            for entry in tokens:
                entry["name"], entry["sha256"], entry["created"]
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"{str(self.path)!r} is not a file of tokens: {exc}") from exc
        return tokens

    def _write(self, tokens: list[dict[str, Any]]) -> None:
        write_secret(self.path, json.dumps({"tokens": tokens}))


class FixedToken:
    """One token that was given.

    Raises:
        ConfigError: It is too short to be one.
    """

    def __init__(self, token: str) -> None:
        if len(token) < _SHORTEST:
            raise ConfigError(
                f"a token has at least {_SHORTEST} characters, this one has {len(token)}"
            )
        self._hash = _hash(token)

    def accepts(self, token: str) -> bool:
        """Whether a token is the one; in constant time."""
        return hmac.compare_digest(_hash(token), self._hash)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
