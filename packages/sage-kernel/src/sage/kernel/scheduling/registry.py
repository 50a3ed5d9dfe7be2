"""The limiters of a process, shared by all its steps and jobs.

Predecessor: ``sage.kernel.scheduling.limiter``; successor: the model clients.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sage.common.config.settings import load_settings
from sage.common.errors import ConfigError
from sage.common.paths import ensure_dir
from sage.kernel.scheduling.cells import FileCell, MemoryCell
from sage.kernel.scheduling.limiter import Limiter
from sage.kernel.scheduling.limits import Limit, find_limit, read_limits

DIRECTORY_VARIABLE: Final = "SAGE_LIMITS_DIR"
_SALT_BYTES: Final = 32


class LimiterRegistry:
    """Limiters by provider, model and key. The key itself is kept nowhere: only a keyed hash.

    Args:
        directory: Folder of files that processes share; ``None``: the limits of this process only.

    Raises:
        ConfigError: The folder cannot be made or written.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = None if directory is None else ensure_dir(directory)
        self._salt = (
            secrets.token_bytes(_SALT_BYTES) if directory is None else _shared_salt(directory)
        )
        self._lock = threading.Lock()
        self._limits: dict[str, Limit] = {}
        self._limiters: dict[str, tuple[Limiter, bool]] = {}

    def configure(self, limits: Mapping[str, Limit]) -> None:
        """Add to the configured limits; an entry replaces the one of that name before."""
        with self._lock:
            self._limits.update(limits)
            known = list(self._limiters.values())
        for limiter, local in known:
            limit = find_limit(self._limits, limiter.provider, limiter.model, local=local)
            if limit is not None:
                limiter.configure(limit)

    def limiter(
        self,
        provider: str,
        model: str,
        api_key: str = "",
        *,
        local: bool = False,
        limit: Limit | None = None,
    ) -> Limiter:
        """The limiter of calls to a model.

        Args:
            provider: Name or host of the provider.
            model: Name of the model.
            api_key: The key in use; only a keyed hash of it is kept.
            local: The server is on this machine or in a private network.
            limit: Limits that the caller was given; default: the configured ones.
        """
        name = f"{provider}\0{model}\0{api_key}".encode()
        digest = hmac.new(self._salt, name, hashlib.sha256).hexdigest()[:32]
        with self._lock:
            found = self._limiters.get(digest)
            given = limit or find_limit(self._limits, provider, model, local=local)
            if found is None:
                found = self._make(digest, provider, model), local
                self._limiters[digest] = found
            elif limit is None:
                return found[0]
        if given is not None:
            found[0].configure(given)
        return found[0]

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """``PROVIDER/MODEL`` (and a mark of the key where there are several) -> numbers."""
        with self._lock:
            limiters = [limiter for limiter, _ in self._limiters.values()]
        shown: dict[str, dict[str, Any]] = {}
        for limiter in limiters:
            name = f"{limiter.provider}/{limiter.model}"
            shown[f"{name}#{limiter.key}" if name in shown else name] = limiter.snapshot()
        return shown

    def _make(self, digest: str, provider: str, model: str) -> Limiter:
        cell: MemoryCell | FileCell = MemoryCell()
        if self._directory is not None:
            cell = FileCell(self._directory / f"{digest}.limit", f"{provider}/{model}")
        return Limiter(cell, provider, model, digest[:8])


def _shared_salt(directory: Path) -> bytes:
    """The salt of a folder, made by whoever comes first."""
    path = directory / "salt"
    try:
        if not path.exists():
            fresh = directory / f"salt.{os.getpid()}.{secrets.token_hex(4)}"
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(handle, secrets.token_bytes(_SALT_BYTES))
            finally:
                os.close(handle)
            try:
                os.link(fresh, path)  # in one step, and only if nobody was faster
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        salt = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the folder of rate limits {str(directory)!r} cannot be used: {error.strerror}; "
            f"point {DIRECTORY_VARIABLE} to a folder that can be written"
        ) from error
    if len(salt) != _SALT_BYTES:
        raise ConfigError(
            f"{str(path)!r} must have {_SALT_BYTES} bytes, has {len(salt)}; remove the folder "
            f"{str(directory)!r} while no job runs, it is made anew"
        )
    return salt


_registries: list[LimiterRegistry] = []
_making = threading.Lock()


def process_limits() -> LimiterRegistry:
    """The registry of this process, made on first use; ``SAGE_LIMITS_DIR`` is its folder.

    It begins with the section ``limits`` of the settings files.

    Raises:
        ConfigError: The settings or the folder cannot be used.
    """
    with _making:
        if not _registries:
            directory = os.environ.get(DIRECTORY_VARIABLE)
            registry = LimiterRegistry(Path(directory) if directory else None)
            registry.configure(read_limits(load_settings().get("limits") or {}))
            _registries.append(registry)
        return _registries[0]


def limits_in_use() -> dict[str, dict[str, Any]]:
    """Numbers of the limiters of this process; empty where none was ever used."""
    return _registries[0].snapshot() if _registries else {}
