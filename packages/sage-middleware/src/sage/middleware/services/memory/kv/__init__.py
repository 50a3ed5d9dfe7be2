"""The inside of the key/value collection.

``schema`` is the table, ``codec`` the bytes of a value, ``keys`` the order of keys, ``batch`` what
is done in one transaction, ``text_index`` the words of chosen fields, ``words`` the collection's
methods on them, ``jsonl`` the exchange form.
Predecessor: ``memory_collection.kv_collection``; successor: ``storage``.
"""

from __future__ import annotations

from sage.middleware.services.memory.kv.batch import Batch

__all__ = ["Batch"]
