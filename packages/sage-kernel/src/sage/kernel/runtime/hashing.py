"""The partitioning hash, whose home is ``sage.kernel.operators.hashing``."""

from sage.kernel.operators.hashing import partition, stable_hash

__all__ = ["partition", "stable_hash"]
