"""Commands of the engine: ``sage run``, ``sage check`` and ``sage explain``.

Each takes a pipeline file (YAML or JSON) or a Python program. Predecessor: ``sage.common.cli``;
successor: ``sage.api``.
"""
