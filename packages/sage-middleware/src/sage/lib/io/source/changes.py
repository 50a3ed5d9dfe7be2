"""``FileChange``: what a directory source says about one file."""

from __future__ import annotations

import attrs

CHANGES = ("added", "changed", "removed", "unchanged")


@attrs.frozen(kw_only=True)
class FileChange:
    """A file of a directory, and how it differs from what was seen before.

    Attributes:
        id: Path below the directory, with ``/``; stable across machines.
        path: The file, absolute.
        change: ``added``, ``changed``, ``removed`` or ``unchanged``.
        hash: BLAKE2b of the content, 32 hex digits; of a removed file the last one known.
        size: Bytes.
        modified: Time of the last change, unix seconds.
    """

    id: str
    path: str
    change: str = attrs.field(default="added", validator=attrs.validators.in_(CHANGES))
    hash: str = ""
    size: int = 0
    modified: float = 0.0


__all__ = ["CHANGES", "FileChange"]
