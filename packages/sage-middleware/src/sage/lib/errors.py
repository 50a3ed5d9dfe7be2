"""Errors of the operator library about the data that flows."""

from __future__ import annotations

from sage.common.errors import JobError


class ItemError(JobError, ValueError):
    """An item has a shape the operator cannot read; names what was found and what is expected."""


class InputFileError(JobError, ValueError):
    """A line of an input file cannot be read. Attributes: ``path``, ``line`` (from 1)."""


__all__ = ["InputFileError", "ItemError"]
