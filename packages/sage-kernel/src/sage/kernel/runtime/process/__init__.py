"""Worker processes for ``executor="process"``: CPU-bound functions on all cores.

``pool`` is the way in. One dispatcher thread of the runtime owns one worker and exchanges one batch
at a time with it (``client``); ``worker`` is the other end, ``frames`` and ``codec`` what goes over
the wire, ``shipping`` how a function gets there, ``remote`` what comes back when it raises.
"""

from sage.kernel.runtime.process.pool import MESSAGE_ITEMS, ProcessPool
from sage.kernel.runtime.process.remote import (
    RemoteError,
    RemoteTraceback,
    TransferError,
    WorkerDiedError,
)

__all__ = [
    "MESSAGE_ITEMS",
    "ProcessPool",
    "RemoteError",
    "RemoteTraceback",
    "TransferError",
    "WorkerDiedError",
]
