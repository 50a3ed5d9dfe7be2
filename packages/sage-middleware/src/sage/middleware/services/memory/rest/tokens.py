"""Where the tokens of the memory server are, and how they look."""

from __future__ import annotations

import os

from sage.common.paths import config_dir
from sage.common.serving.tokens import TokenFile

VARIABLE = "SAGE_MEMORY_TOKEN"


def token_file(path: str | os.PathLike[str] | None = None) -> TokenFile:
    """The tokens the server accepts; default: ``memory-tokens.json`` of the configuration."""
    return TokenFile(config_dir() / "memory-tokens.json" if path is None else path, "sagemem_")
