"""Keyed state of stateful steps, in memory, with snapshots as plain data.

Predecessor: ``sage.kernel.operators``; successor: ``sage.kernel.runtime``.
"""

from sage.kernel.state.backend import StateBackend

__all__ = ["StateBackend"]
