"""Entries as lines of JSON, to move them between collections."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from sage.common.paths import replacing
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.kv.codec import decode, encode

Row = tuple[str, Any, float | None]


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Writes ``{"key", "value", "expires"}`` lines; returns how many.

    A value that JSON cannot hold as it is (bytes, NaN, dates, keys that are not text) stands as
    ``{"key", "msgpack"}``, its stored bytes in base64.
    """
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        for key, value, expires in rows:
            line: dict[str, Any] = {"key": key, "value": value}
            if not _plain(value):
                line = {"key": key, "msgpack": base64.b64encode(encode(value)).decode()}
            if expires is not None:
                line["expires"] = expires
            file.write(msgspec.json.encode(line) + b"\n")
            count += 1
    return count


def _plain(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | str):
        return True
    if isinstance(value, float):
        return value - value == 0
    if isinstance(value, list):
        return all(map(_plain, value))
    return isinstance(value, dict) and all(
        isinstance(k, str) and _plain(v) for k, v in value.items()
    )


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of such a file.

    Raises:
        InvalidInputError: A line is not one; says which.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line)
                if "msgpack" in row:
                    value = decode(base64.b64decode(row["msgpack"], validate=True))
                else:
                    value = row["value"]
                expires = row.get("expires")
                yield str(row["key"]), value, None if expires is None else float(expires)
            except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError) as exc:
                raise InvalidInputError(
                    f"line {number} of {str(path)!r} is not an entry ({exc}); expected "
                    '{"key": ..., "value": ...}'
                ) from exc
