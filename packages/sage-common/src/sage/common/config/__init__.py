"""Configuration: files become mappings, mappings become typed attrs classes.

Reading order: ``reading`` → ``interpolation`` → ``mapping`` → ``loader``
(``load_config``), then ``type_names`` → ``hooks`` → ``structure`` (``structure_config``) →
``schema`` (``config_schema``, ``json_schema``). Predecessor: ``sage.common.errors``; successor: the
operators, which declare a ``Config``.
"""

from sage.common.config.loader import load_config, load_layers
from sage.common.config.mapping import ConfigDict, format_path
from sage.common.config.schema import FieldSchema, config_schema, json_schema
from sage.common.config.structure import Problem, structure_config
from sage.common.secrets import Secret, redact, remember

__all__ = [
    "ConfigDict",
    "FieldSchema",
    "Problem",
    "Secret",
    "config_schema",
    "format_path",
    "json_schema",
    "load_config",
    "load_layers",
    "redact",
    "remember",
    "structure_config",
]
