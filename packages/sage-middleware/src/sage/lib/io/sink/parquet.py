"""Parquet as a format of ``FileSink``: row groups, and an end that is written at ``close``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.adapt import to_dict
from sage.lib.io.sink.line import json_bytes

ROWS = 1024
"""Rows of a group, which are kept in memory until the group is full."""

TYPES = {
    "null": "string",
    "bool": "bool",
    "int": "int64",
    "long": "int64",
    "float": "float64",
    "text": "string",
    "bytes": "binary",
}
"""Arrow types of the kinds of values; a column without any value is text.

A ``long`` is an integer that no float stands for exactly (beyond 2**53)."""

NO_CHECKPOINTS = (
    "a Parquet file cannot be part of a checkpoint, because it is whole only when it is closed; "
    "write jsonl, or run without enable_checkpoints"
)

_WIDER = {
    frozenset(("int", "long")): "long",
    frozenset(("int", "float")): "float",
    **{frozenset(("null", kind)): kind for kind in TYPES},
}


class ParquetWriter:
    """Writes items as rows of a Parquet file, which can be read once it is closed.

    The columns are the keys of the items of the first group, their types those of the values there
    (a column without any is text); nested values are JSON text. An item that does not fit is
    refused by itself: the rows that wait for their group do not depend on it.

    Args:
        file: An empty file.

    Raises:
        ConfigError: The file is not empty: Parquet cannot be appended to.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow  # noqa: F401, ICN001 - whether it is there, before the first item
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet", "writing Parquet files") from error
        if file.read(1):
            raise ConfigError(
                f"cannot append to {getattr(file, 'name', '')!r}: a Parquet file is written once; "
                "choose another file_path or output_format jsonl"
            )
        self._file = file
        self._rows: list[dict[str, Any]] = []
        self._kinds: dict[str, str] = {}
        self._schema: Any = None
        self._writer: Any = None

    def write(self, item: Any) -> None:
        """Add a row.

        Raises:
            ConfigError: It does not fit the columns of the rows before.
            OSError: The rows before it could not be written; ``close`` will fail, too.
        """
        row = to_dict(item)
        if not isinstance(row, Mapping):
            row = {"value": row}
        if not row:
            raise ConfigError("an item without any key is no row of a Parquet file; use jsonl")
        cells = {_clean(str(key)): _cell(value) for key, value in row.items()}
        if len(self._rows) >= ROWS:
            self._flush()
        self._kinds.update(self._fitting(cells))
        self._rows.append(cells)

    def _fitting(self, cells: Mapping[str, Any]) -> dict[str, str]:
        """The kinds of the columns once the row is among them."""
        kinds = {}
        for name, value in cells.items():
            if self._schema is not None and name not in self._kinds:
                raise ConfigError(
                    f"an item has the key {name!r}, which is no column of the file "
                    f"({', '.join(self._kinds)}); use jsonl for items of changing shape"
                )
            before, kind = self._kinds.get(name, "null"), _kind(value)
            wider = before if before == kind else _WIDER.get(frozenset((before, kind)))
            if wider is None or (self._schema is not None and TYPES[wider] != TYPES[before]):
                raise ConfigError(
                    f"the value {value!r:.80} of {name!r} ({kind}) does not fit the column of "
                    f"the Parquet file, which is {before}; use jsonl for items of changing shape"
                )
            kinds[name] = wider
        return kinds

    def sync(self) -> int:
        """Refuse a checkpoint: what is in the file cannot be told before its end is written.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(NO_CHECKPOINTS)

    def close(self) -> None:
        """Write the last rows and the end of the file; without any item, an empty table."""
        try:
            self._flush()
            self._writer.close()
        finally:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None:
            self._schema = pa.schema([(name, TYPES[kind]) for name, kind in self._kinds.items()])
            self._writer = parquet.ParquetWriter(self._file, self._schema)
        # Rows that the disk does not take stay here, so that closing fails as well.
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ConfigError(f"{value} has more than the 64 bits of a Parquet integer; use jsonl")
        return "int" if abs(value) <= 2**53 else "long"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "bytes"


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if value is None or isinstance(value, int | float | bytes):
        return value
    return json_bytes(value).decode()


def _clean(text: str) -> str:
    # Half a surrogate pair has no UTF-8.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
