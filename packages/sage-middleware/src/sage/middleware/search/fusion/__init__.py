"""Joining rankings: one by meaning (dense) and one by words (sparse), or any others.

``ranking`` is what all work on, ``reciprocal_rank`` and ``convex`` are the classic ways,
``confidence`` reads off a ranking how sure its retriever is, ``auto`` sets the weight of every
query by that, and ``fuse`` is all of them behind one name.
"""

from __future__ import annotations

from sage.middleware.search.fusion.auto import Weighing, auto, dense_weight
from sage.middleware.search.fusion.convex import convex
from sage.middleware.search.fusion.fuse import DEPTH, METHODS, fuse
from sage.middleware.search.fusion.ranking import Ranking
from sage.middleware.search.fusion.reciprocal_rank import reciprocal_rank

__all__ = [
    "DEPTH",
    "METHODS",
    "Ranking",
    "Weighing",
    "auto",
    "convex",
    "dense_weight",
    "fuse",
    "reciprocal_rank",
]
