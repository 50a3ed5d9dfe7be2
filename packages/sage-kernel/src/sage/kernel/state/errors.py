"""What can go wrong when state is turned into bytes and back."""

from __future__ import annotations

from sage.common.errors import JobError


class StateEncodingError(JobError):
    """A value cannot be part of a checkpoint.

    Attributes: ``where`` (whose state), ``path`` (inside the value, such as ``value[3].lock``),
    ``type`` (``module:qualname`` of what was found there).
    """


class StateDecodingError(JobError):
    """Bytes of a checkpoint cannot be read; ``where`` says whose state they are."""
