"""Rows on their way in: checked, given ids, turned into JSON."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import orjson

from sage.middleware.services.memory.errors import DuplicateIdError, InvalidInputError
from sage.middleware.services.memory.vdb.metrics import FloatArray

Metadata = Mapping[str, Any]
MAX_ID_CHARS = 1024


@attrs.define(kw_only=True)
class Batch:
    """New rows: one entry per row in every list.

    Attributes:
        metadatas: What columns and callables see: plain JSON values.
        vectors: As they are written to the file, or ``None`` for a collection of texts.
        times: Seconds since 1970 of the write.
        embedded: The collection's model made the vectors just now; they did not come ready.
    """

    ids: list[str]
    texts: list[str]
    metadatas: list[Metadata]
    json: list[str]
    vectors: FloatArray | None
    times: list[float]
    embedded: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class IdSource:
    """Makes ids for the rows of one handle; like the handle, not to be used across a fork.

    Ids sort by time: 48 bits of milliseconds, 16 of position, 64 random.
    """

    def __init__(self) -> None:
        # Seeded by the system; asking the system for each id costs a tenth of an insert.
        self._bits = random.Random().getrandbits  # noqa: S311 - unique, not secret

    def take(self, count: int) -> list[str]:
        """New ids in order."""
        millis, bits = f"{time.time_ns() // 1_000_000:012x}", self._bits
        return [f"{millis}{i & 0xFFFF:04x}{bits(64):016x}" for i in range(count)]


def check_ids(ids: Iterable[Any]) -> list[str]:
    """Ids of one batch.

    Raises:
        InvalidInputError: Not a string, empty or longer than 1,024 characters.
        DuplicateIdError: One occurs twice.
    """
    if isinstance(ids, str):
        raise InvalidInputError(f"ids is the string {ids!r}; expected a list of strings")
    checked = list(ids)
    for one in checked:
        if not isinstance(one, str) or not one or len(one) > MAX_ID_CHARS:
            raise InvalidInputError(
                f"an id is {one!r}; expected a string of 1 to {MAX_ID_CHARS} characters"
            )
    if len(set(checked)) < len(checked):
        twice = sorted({i for i in checked if checked.count(i) > 1})
        raise DuplicateIdError(f"ids occur twice in one batch: {shown(twice)}", ids=tuple(twice))
    return checked


def check_texts(texts: Iterable[Any]) -> list[str]:
    """Texts of one batch."""
    if isinstance(texts, str):
        raise InvalidInputError("texts is one string; expected a list of strings")
    checked = list(texts)
    for one in checked:
        if not isinstance(one, str):
            raise InvalidInputError(f"a text is {one!r}; expected a string")
        try:
            one.encode()
        except UnicodeEncodeError as exc:
            raise InvalidInputError(f"a text is not valid Unicode: {exc}") from exc
    return checked


def check_metadatas(
    metadatas: Sequence[Metadata | None] | None, count: int
) -> tuple[list[Metadata], list[str]]:
    """Metadata as plain mappings and as JSON.

    Raises:
        InvalidInputError: Not a mapping with string keys, not JSON, or not one per row.
    """
    if metadatas is None:
        return [{}] * count, ["{}"] * count
    if isinstance(metadatas, Mapping) or not isinstance(metadatas, Sequence):
        raise InvalidInputError("metadatas is not a list; expected one mapping per text")
    if len(metadatas) != count:
        raise InvalidInputError(f"got {len(metadatas)} metadatas for {count} texts")
    plain: list[Metadata] = []
    texts: list[str] = []
    for one in metadatas:
        if one is not None and not isinstance(one, Mapping):
            raise InvalidInputError(f"metadata is {one!r}; expected a mapping")
        text, kept = to_json(one if type(one) is dict else dict(one or {}))
        plain.append(kept)
        texts.append(text)
    return plain, texts


def as_lists(texts: Any, metadatas: Any, ids: Any, vectors: Any) -> tuple[Any, Any, Any, Any]:
    """What ``upsert`` takes, for one row or many, as ``insert_many`` takes it.

    Raises:
        InvalidInputError: ``ids`` of one text is not one id.
    """
    if isinstance(texts, str):
        if ids is not None and not isinstance(ids, str):
            raise InvalidInputError(f"ids is {ids!r}; expected one id for one text")
        texts = [texts]
        ids = None if ids is None else [ids]
        vectors = None if vectors is None else [vectors]
    if isinstance(metadatas, Mapping):
        metadatas = [metadatas]
    return texts, metadatas, ids, vectors


def new_batch(
    texts: Iterable[Any],
    metadatas: Sequence[Metadata | None] | None,
    ids: Iterable[Any] | None,
    source: IdSource,
    vectors: Callable[[list[str]], FloatArray | None],
) -> Batch:
    """Checked rows, written now.

    Args:
        texts, metadatas: One each per row.
        ids: One per row; made by ``source`` if ``None``.
        source: Makes ids.
        vectors: Makes the vectors of the texts; not called without any.

    Raises:
        InvalidInputError: Something cannot be stored, or there are more or fewer ids than texts.
        DuplicateIdError: An id occurs twice.
    """
    checked = check_texts(texts)
    plain, json = check_metadatas(metadatas, len(checked))
    names = source.take(len(checked)) if ids is None else check_ids(ids)
    if len(names) != len(checked):
        raise InvalidInputError(f"got {len(names)} ids for {len(checked)} texts")
    return Batch(
        ids=names,
        texts=checked,
        metadatas=plain,
        json=json,
        vectors=vectors(checked) if checked else None,
        times=[time.time()] * len(checked),
    )


def check_changes(
    count: int,
    texts: Sequence[str] | None,
    metadatas: Sequence[Metadata | None] | None,
) -> tuple[list[str] | None, tuple[list[Metadata], list[str]] | None]:
    """New texts, and new metadata as ``check_metadatas`` gives them, of ``count`` rows.

    Raises:
        InvalidInputError: Something cannot be stored, or is not one per row.
    """
    checked = None if texts is None else check_texts(texts)
    if checked is not None and len(checked) != count:
        raise InvalidInputError(f"got {len(checked)} texts for {count} ids")
    return checked, None if metadatas is None else check_metadatas(metadatas, count)


def to_json(metadata: dict[str, Any]) -> tuple[str, Metadata]:
    """Metadata as JSON, and what reading it back gives.

    NumPy scalars and arrays, dates, UUIDs and the like become what JSON has for them.
    """
    try:
        text = orjson.dumps(metadata, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as exc:
        raise InvalidInputError(
            f"metadata {metadata!r} is not JSON: {exc}; use strings as keys, and strings, "
            "numbers (integers up to 64 bits), booleans, None, lists and mappings as values"
        ) from exc
    if all(type(v) in _PLAIN for v in metadata.values()):
        return text.decode(), metadata.copy()
    return text.decode(), orjson.loads(text)


_PLAIN = frozenset({str, int, bool, type(None)})


def shown(ids: Sequence[str], most: int = 5) -> str:
    """Some ids for a message."""
    text = ", ".join(map(repr, ids[:most]))
    return text if len(ids) <= most else f"{text} and {len(ids) - most} more"
