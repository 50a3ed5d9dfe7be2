"""Memory as steps of a pipeline: write, recall, and the history of a session.

All of them work through the job's service ``memory_service``; register it with
``env.set_memory(config)``. Predecessor: ``sage.middleware.services.memory.service``.
"""

from sage.lib.memory.recall import MemoryRecall
from sage.lib.memory.session import SessionMemory
from sage.lib.memory.write import MemoryWrite

__all__ = ["MemoryRecall", "MemoryWrite", "SessionMemory"]
