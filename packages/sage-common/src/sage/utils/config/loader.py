"""Old name of ``sage.common.config``: ``load_config`` and ``structure_config``."""

from sage.common.config import load_config, structure_config

__all__ = ["load_config", "structure_config"]
