"""Operators at the ends of a pipeline: ``sage.lib.io.source`` and ``sage.lib.io.sink``."""
