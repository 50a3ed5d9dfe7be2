"""The settings of a user and a project: which files there are, and what they add up to.

Predecessor: ``sage.common.config.loader``; successor: ``sage config``, daemons.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.common.config.loader import load_layers
from sage.common.config.mapping import ConfigDict
from sage.common.paths import config_dir

_ENDINGS = (".yaml", ".yml", ".toml", ".json")


def settings_files(project: Path | None = None) -> list[Path]:
    """The settings files that exist, the weaker first: the user's, then the project's.

    The user's is ``config.yaml`` (or ``.yml``, ``.toml``, ``.json``) in the configuration folder,
    the project's is ``sage.yaml`` (the same endings) in ``project`` (default: the current folder).
    """
    folder = Path() if project is None else project
    return [*_first(config_dir(), "config"), *_first(folder, "sage")]


def load_settings(
    *, project: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> ConfigDict:
    """User file < project file < environment (``SAGE_X__Y``) < ``overrides``.

    Raises:
        ConfigError: A file is malformed.
    """
    return load_layers(settings_files(project), overrides=overrides)


def _first(folder: Path, stem: str) -> list[Path]:
    return [p for p in (folder / f"{stem}{ending}" for ending in _ENDINGS) if p.is_file()][:1]
