"""Logging of the command line: quiet, on stderr, with secrets masked.

Only programs set up logging (the ``sage`` commands, daemons); importing SAGE never does. Library
modules use ``logging.getLogger(__name__)``.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from sage.common.secrets import redact

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RedactingFormatter(logging.Formatter):
    """Masks secret values in the finished text: message, arguments and traceback alike."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record, then mask."""
        return redact(super().format(record))


def set_up_logging(verbosity: int = 0, stream: TextIO | None = None) -> logging.Handler:
    """Send the log of ``sage`` to ``stream`` (default: stderr); calling again replaces the handler.

    Args:
        verbosity: -1 errors only, 0 warnings, 1 information, 2 and more everything.
        stream: Where to write.

    Returns:
        The handler, so that the caller can remove it.
    """
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    logger = logging.getLogger("sage")
    for old in [h for h in logger.handlers if isinstance(h.formatter, RedactingFormatter)]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(RedactingFormatter(_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(levels.get(max(verbosity, -1), logging.DEBUG))
    # The root logger may have handlers of the embedding program; lines would come twice.
    logger.propagate = False
    return handler
