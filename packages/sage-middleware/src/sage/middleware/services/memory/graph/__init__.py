"""The inside of the graph collection.

``schema`` is the tables, ``keys`` what identifies a node, ``adjacency`` the neighbours in memory,
``adjacency_file`` their snapshot, ``adjacency_cache`` keeps them up to date with the tables.
``traversal`` and ``pagerank`` are the algorithms, ``writes`` the statements that change,
``vectors`` the embeddings of nodes, ``subgraphs`` what is found by text; ``changes``, ``reads``
and ``walks`` are the collection's methods by subject.
Predecessor: ``memory_collection.graph_collection``; successor: ``storage``.
"""
