"""Errors of the call ledger."""

from __future__ import annotations

from sage.common.errors import JobError


class LedgerError(JobError):
    """The ledger cannot do what was asked, or its file cannot be read or written."""


class PayloadError(LedgerError):
    """A stored request or response is missing or damaged."""


class LedgerMissError(LedgerError):
    """A replay needs a call that was not recorded.

    Attributes: ``step``, ``record``, ``request`` (readable text), ``nearest`` (the most similar
    recorded request, or ``None``), ``diff``.
    """
