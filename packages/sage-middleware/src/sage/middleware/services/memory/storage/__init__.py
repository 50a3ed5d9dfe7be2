"""What collections keep on disk: a SQLite database as the truth, and files that follow it.

Predecessor: ``memory_collection``. Successor: the operating system.
"""

from sage.middleware.services.memory.storage.database import Database, Durability

__all__ = ["Database", "Durability"]
