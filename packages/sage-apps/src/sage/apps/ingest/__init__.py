"""``ingest``: a directory of files becomes a collection, and stays one.

Reading order: ``passages`` (a document is cut), ``changes`` (what differs from the collection),
``pipeline`` (the dataflow graph), ``main`` (the command).
"""
