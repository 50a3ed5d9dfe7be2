"""Keyed state of stateful steps, in memory, and how state becomes bytes.

Reading order: ``backend`` → ``memory`` → ``ttl`` → ``parts`` → ``codec``. Predecessor:
``sage.kernel.operators``; successor: ``sage.kernel.checkpoint``.
"""

from sage.kernel.state.backend import StateBackend

__all__ = ["StateBackend"]
