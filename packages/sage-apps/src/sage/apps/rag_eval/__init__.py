"""``rag-eval``: variants of a pipeline on one data set, side by side.

Reading order: ``variants`` (what is compared), ``matrix`` (runs and tests), ``overview`` (the
report), ``main`` (the command). What a run is: ``sage.apps.evaluation``.
"""
