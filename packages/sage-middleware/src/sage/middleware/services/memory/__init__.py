"""Memory: collections of texts and vectors, keys and values, nodes and edges.

Read next: ``memory_manager`` (creates and opens collections), ``memory_collection`` (one
module per kind of collection), ``vdb`` (the vector collection's inside), ``storage`` (SQLite and
vector files).
"""
