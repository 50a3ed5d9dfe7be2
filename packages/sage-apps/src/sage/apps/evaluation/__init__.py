"""``sage eval``: runs a pipeline over a data set, scores it, compares two runs.

Reading order: ``dataset`` (questions, documents, judgements), ``builtin`` and ``pipelines`` (the
graph that is run), ``metrics`` (which evaluators), ``results`` (what a run leaves on disk),
``run``, ``summary``, ``thresholds`` and ``junit``, then ``comparison`` and ``report``; ``command``
is the command line.
"""
