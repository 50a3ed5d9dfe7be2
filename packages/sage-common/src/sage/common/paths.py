"""Where SAGE keeps its files, and how they are protected.

``SAGE_HOME`` puts everything under one folder; without it each kind of file goes where the platform
wants it (XDG on Linux). Folders are made with mode 0700 and secrets written with mode 0600.
Nothing is created by asking for a path.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import platformdirs

from sage.common.errors import ConfigError

_APP = "sage"


def _folder(kind: str, platform_path: Path) -> Path:
    home = os.environ.get("SAGE_HOME")
    return Path(home).expanduser().absolute() / kind if home else platform_path


def config_dir() -> Path:
    """User configuration (``config.yaml``): ``$SAGE_HOME/config`` or the platform's folder."""
    return _folder("config", platformdirs.user_config_path(_APP))


def data_dir() -> Path:
    """Data that must be kept: memory collections, job stores."""
    return _folder("data", platformdirs.user_data_path(_APP))


def cache_dir() -> Path:
    """Data that can be made again: models, indexes."""
    return _folder("cache", platformdirs.user_cache_path(_APP))


def state_dir() -> Path:
    """What a running system leaves behind: checkpoints, history."""
    return _folder("state", platformdirs.user_state_path(_APP))


def log_dir() -> Path:
    """Log files."""
    return _folder("logs", platformdirs.user_log_path(_APP))


def runtime_dir() -> Path:
    """Sockets and pid files of this login."""
    if sys.platform == "linux" and not os.environ.get("XDG_RUNTIME_DIR"):
        # platformdirs would fall back to a name under /tmp that another user can take first.
        return _folder("run", state_dir() / "run")
    return _folder("run", platformdirs.user_runtime_path(_APP))


def ensure_dir(path: str | os.PathLike[str]) -> Path:
    """Make a folder that only its owner can enter (0700) and return it.

    A folder that exists keeps its permissions: it may be shared on purpose.

    Raises:
        ConfigError: It cannot be made, or something else has that name.
    """
    folder = Path(path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"cannot make the folder {str(folder)!r}: {exc.strerror}; "
            "set SAGE_HOME to a folder that can be written"
        ) from exc
    return folder


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream to a new file (0600) that takes the place of ``path`` when the block ends well.

    A reader sees the old content or the new, never a part; after an error nothing is left.
    """
    target = Path(path)
    # mkstemp makes the file with mode 0600 before anything is in it.
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_secret(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write ``content`` (text as UTF-8) to a file only its owner can read (0600), in one step.

    A reader sees the old content or the new, never a part. The folder is made if needed.
    """
    target = Path(path)
    ensure_dir(target.parent)
    with replacing(target) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    return target


def within(base: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Resolve ``path`` against ``base`` and make sure that it stays inside, links followed.

    Raises:
        ConfigError: It leads outside.
    """
    root = Path(base).resolve()
    target = (root / path).resolve()
    if not target.is_relative_to(root):
        raise ConfigError(f"the path {os.fspath(path)!r} leads outside of the folder {str(root)!r}")
    return target


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
