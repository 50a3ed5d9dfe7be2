"""``sage app run qa``: answers questions about a folder of documents, and shows how well.

Reading order: ``corpus`` (documents and questions), ``index`` (passages in a collection),
``pipeline`` (the dataflow graph), ``report`` (what is printed), ``main`` (the command).
"""
