"""``sage memory``: collections from the command line, local or of a server.

Reading order: ``opening`` and ``progress`` → ``collections``, ``rows``, ``indexes``, ``upkeep``,
``review`` (over ``audit`` and ``comparison``), ``server`` → ``app``. Importing this package loads
none of them.
"""

from sage.common.cli.entry import standalone

__all__ = ["main"]

main = standalone("memory")
