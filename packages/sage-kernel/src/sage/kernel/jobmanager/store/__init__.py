"""The durable store of a JobManager: one SQLite database in WAL mode.

``database`` → ``jobs``, ``history``, ``services``. Predecessor: ``sage.kernel.jobmanager.layout``;
successor: ``sage.kernel.jobmanager.supervisor``.
"""

from sage.kernel.jobmanager.store.database import Database
from sage.kernel.jobmanager.store.history import History
from sage.kernel.jobmanager.store.jobs import Jobs
from sage.kernel.jobmanager.store.services import Services

__all__ = ["Database", "History", "Jobs", "Services"]
