"""Parquet as a format of ``FileSink``: row groups, and an end that is written at ``close``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.adapt import to_dict
from sage.lib.io.sink.line import json_bytes

ROWS = 1024
"""Rows of a group, which are kept in memory until the group is full."""


class ParquetWriter:
    """Writes items as rows of a Parquet file, which can be read once it is closed.

    The columns are the keys of the items of the first group, their types those of the values there
    (a column without any is text); nested values are JSON text.

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
        self._rows: list[Mapping[str, Any]] = []
        self._schema: Any = None
        self._writer: Any = None

    def write(self, item: Any) -> None:
        """Add a row.

        Raises:
            ConfigError: It does not fit the columns of the rows before.
        """
        row = to_dict(item)
        if not isinstance(row, Mapping):
            row = {"value": row}
        self._rows.append({str(key): _cell(value) for key, value in row.items()})
        if len(self._rows) >= ROWS:
            self._flush()

    def sync(self) -> int:
        """Refuse a checkpoint: what is in the file cannot be told before its end is written.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "a Parquet file cannot be part of a checkpoint, because it is whole only when it is "
            "closed; write jsonl, or run without checkpoints"
        )

    def close(self) -> None:
        """Write the last rows and the end of the file."""
        try:
            if self._rows:
                self._flush()
            if self._writer is not None:
                self._writer.close()
        finally:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        rows, self._rows = self._rows, []
        if self._writer is None:
            columns = {key: [row.get(key) for row in rows] for key in _keys(rows)}
            self._schema = _schema(pa, columns)
            self._writer = parquet.ParquetWriter(self._file, self._schema)
        unknown = [key for key in _keys(rows) if key not in self._schema.names]
        if unknown:
            raise ConfigError(
                f"an item has the keys {unknown}, which are no columns of the file "
                f"({', '.join(self._schema.names)}); use jsonl for items of changing shape"
            )
        try:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConfigError(
                f"an item does not fit the columns of the Parquet file ({self._schema}): {error}; "
                "use jsonl for items of changing shape"
            ) from error


def _keys(rows: list[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _schema(pa: Any, columns: Mapping[str, list[Any]]) -> Any:
    fields = []
    for name, values in columns.items():
        try:
            kind = pa.array(values).type
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConfigError(
                f"the values of {name!r} have different types, so they are no column of a Parquet "
                f"file: {error}; use jsonl"
            ) from error
        fields.append(pa.field(name, pa.string() if pa.types.is_null(kind) else kind))
    return pa.schema(fields)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    return json_bytes(value).decode()
