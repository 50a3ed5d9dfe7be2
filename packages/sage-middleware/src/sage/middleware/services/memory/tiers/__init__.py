"""The three tiers of memory: what was just said, what a task needs, what is to be kept.

Reading order: ``provenance`` → ``session`` (with ``summary``) → ``task`` → ``long_term`` (with
``sensitive`` and ``echo``, its write gate). Predecessor: the collections; successor:
``sage.middleware.services.memory.service``, which holds one of each.
"""

from sage.middleware.services.memory.tiers.long_term import LongTermMemory, Written
from sage.middleware.services.memory.tiers.provenance import Provenance
from sage.middleware.services.memory.tiers.session import SessionMemory, Turn, Window
from sage.middleware.services.memory.tiers.task import TaskMemory

__all__ = [
    "LongTermMemory",
    "Provenance",
    "SessionMemory",
    "TaskMemory",
    "Turn",
    "Window",
    "Written",
]
