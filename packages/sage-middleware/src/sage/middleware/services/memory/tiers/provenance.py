"""Where an entry of memory comes from.

Every entry says it in fields whose names begin with ``_``; the metadata of users must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from sage.middleware.services.memory.errors import InvalidInputError

PREFIX = "_"
FIELDS = ("source", "session", "turn", "task", "job", "operator", "record")


@attrs.frozen(kw_only=True)
class Provenance:
    """Who wrote an entry, and from what; what is not known is ``None``.

    Attributes:
        source: What the text was: ``user``, ``assistant``, ``document``, ``tool``, ``import``, …
        session: The conversation.
        turn: Its turn, by id or number.
        task: The task.
        job: The run of the pipeline.
        operator: The step that wrote it.
        record: The record the step was working on.
    """

    source: str | None = None
    session: str | None = None
    turn: str | None = None
    task: str | None = None
    job: str | None = None
    operator: str | None = None
    record: str | None = None

    @classmethod
    def of(cls, given: Provenance | Mapping[str, Any] | None) -> Provenance:
        """From a mapping of its fields.

        Raises:
            InvalidInputError: It has another field, or one that is not text.
        """
        if isinstance(given, Provenance):
            return given
        values = dict(given or {})
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise InvalidInputError(
                f"provenance has no field {unknown[0]!r}; it has {', '.join(FIELDS)}"
            )
        return cls(**{key: None if v is None else str(v) for key, v in values.items()})

    def to_fields(self) -> dict[str, Any]:
        """As an entry stores it: ``_source``, ``_session``, …; only what is known."""
        known = attrs.asdict(self)
        return {PREFIX + key: value for key, value in known.items() if value is not None}


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata of a user.

    Raises:
        InvalidInputError: A field begins with ``_``.
    """
    given = dict(metadata or {})
    taken = sorted(key for key in given if str(key).startswith(PREFIX))
    if taken:
        raise InvalidInputError(
            f"the metadata field {taken[0]!r} begins with {PREFIX!r}: such names are kept for "
            "provenance and validity"
        )
    return given
