"""What can be wrong with checkpoints and savepoints on disk."""

from __future__ import annotations

from sage.common.errors import JobError


class CheckpointError(JobError):
    """A checkpoint or savepoint cannot be read or written; ``file`` names what is wrong."""


class CheckpointLockedError(CheckpointError):
    """Another process writes the store; ``pid`` is its process id, or ``None``."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged and an older one is used, or something could not be removed."""
