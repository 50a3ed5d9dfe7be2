"""The license: MIT, which needs no key; and the key that plugins of others may ask for.

There is no license server, nothing is ever sent anywhere, and nothing in SAGE depends on a key. A
plugin that sells something keeps its customer's key here instead of in a file of its own::

    key = require_enterprise_key("the vector accelerator").reveal()

The variable ``SAGE_LICENSE_KEY`` wins over the stored key.

Successor: ``sage license``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sage.common.errors import AuthError, ConfigError
from sage.common.paths import config_dir, write_secret
from sage.common.secrets import MASK, Secret

#: The license of SAGE itself.
NAME = "MIT"
VARIABLE = "SAGE_LICENSE_KEY"
_LONGEST = 4096


def key_file() -> Path:
    """Where ``sage license activate`` keeps the key (mode 0600)."""
    return config_dir() / "license.key"


def enterprise_key() -> Secret | None:
    """The key of the environment, else the stored one, else ``None``.

    Raises:
        ConfigError: The stored key cannot be read.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Secret(given)
    try:
        text = key_file().read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the key in {str(key_file())!r}: {exc}") from exc
    return Secret(text) if text else None


def require_enterprise_key(purpose: str) -> Secret:
    """The key, for a plugin that does not work without one; ``purpose`` is what needs it.

    Raises:
        AuthError: There is none.
    """
    key = enterprise_key()
    if key is None:
        raise AuthError(
            f"{purpose} asks for a license key of its vendor, and there is none; store it with "
            f"`sage license activate --key KEY` or set {VARIABLE}"
        )
    return key


def store_key(text: str) -> Path:
    """Keep a key in ``key_file()``, in place of the one before; returns the file.

    Raises:
        ConfigError: ``text`` is no key: empty, of several lines, or longer than 4,096 characters.
    """
    key = text.strip()
    if not key or len(key) > _LONGEST or not key.isprintable():
        raise ConfigError(
            "the license key must be one line of printable characters, at most "
            f"{_LONGEST}; got {len(key)} characters"
        )
    return write_secret(key_file(), f"{key}\n")


def remove_key() -> bool:
    """Remove the stored key; whether there was one."""
    try:
        key_file().unlink()
    except FileNotFoundError:
        return False
    return True


def masked(key: Secret) -> str:
    """A key as it may be shown: its last four characters, if it is long enough to spare them."""
    text = key.reveal()
    return f"{MASK}{text[-4:]}" if len(text) >= 16 else MASK


def exposed() -> str | None:
    """What is wrong with the permissions of the stored key, or ``None``."""
    if os.name == "nt" or not key_file().exists():
        return None
    mode = stat.S_IMODE(key_file().stat().st_mode)
    if not mode & 0o077:
        return None
    return f"{key_file()} can be read by others (mode {mode:04o}): chmod 600 {key_file()}"
