"""Row writers of ``FileSink``: each keeps the file complete after every row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from sage.common.errors import ConfigError
from sage.lib.adapt import to_dict
from sage.lib.io.sink.line import json_bytes, text_line
from sage.lib.io.sink.parquet import ParquetWriter

FORMATS = ("json", "jsonl", "txt", "csv", "parquet")
SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "txt",
    ".log": "txt",
    ".csv": "csv",
    ".parquet": "parquet",
}


class RowWriter:
    """Appends rows to an unbuffered file: a row is on disk when ``write`` returns."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, item: Any) -> None:
        """Append one item."""
        raise NotImplementedError

    def sync(self) -> int:
        """Force what was written to the disk; bytes up to which the file holds whole rows."""
        os.fsync(self._file.fileno())
        return self._length()

    def _length(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonWriter(RowWriter):
    """A JSON array that is complete after every item, also when the process is killed."""

    END = b"\n]\n"

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        content = file.read().rstrip()
        if not content:
            file.seek(0)
            file.write(b"[" + self.END)
            self._position, self._first = 1, True
            return
        try:
            existing = orjson.loads(content)
        except orjson.JSONDecodeError:
            existing = None
        if not isinstance(existing, list):
            raise ConfigError(
                f"cannot append to {getattr(file, 'name', '')!r}: it holds no JSON array"
            )
        self._position, self._first = len(content[:-1].rstrip()), not existing
        file.seek(self._position)
        file.write(self.END)
        file.truncate()

    def write(self, item: Any) -> None:
        """Replace the end of the array by the item and a new end."""
        row = (b"\n" if self._first else b",\n") + json_bytes(item)
        self._file.seek(self._position)
        self._file.write(row + self.END)
        self._position += len(row)
        self._first = False

    def _length(self) -> int:
        return self._position


class JsonLinesWriter(RowWriter):
    """One JSON value per line."""

    def write(self, item: Any) -> None:
        """Append a line."""
        self._file.write(json_bytes(item) + b"\n")


class TextWriter(RowWriter):
    """One line of text per item."""

    def write(self, item: Any) -> None:
        """Append a line."""
        self._file.write((text_line(item) + "\n").encode("utf-8", "replace"))


class CsvWriter(RowWriter):
    """A table whose columns are the keys of the first item; nested values are JSON text.

    Cells that a spreadsheet would run as a formula get a leading apostrophe.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        head = file.read().split(b"\n", 1)[0].decode("utf-8").strip("\r")
        file.seek(0, io.SEEK_END)
        self._columns = next(csv.reader([head])) if head else []

    def write(self, item: Any) -> None:
        """Append a row; keys that are no column are an error, missing ones are empty."""
        row = to_dict(item)
        if not isinstance(row, Mapping):
            row = {"value": row}
        text = io.StringIO()
        writer = csv.writer(text)
        if not self._columns:
            self._columns = [str(key) for key in row]
            writer.writerow(self._columns)
        unknown = [key for key in row if str(key) not in self._columns]
        if unknown:
            raise ConfigError(
                f"the item has the keys {unknown}, which are no columns of the file "
                f"({', '.join(self._columns)}); use jsonl for items of changing shape"
            )
        writer.writerow([_cell(row.get(column)) for column in self._columns])
        self._file.write(text.getvalue().encode("utf-8", "replace"))


class Writer(Protocol):
    """What ``FileSink`` writes with."""

    def write(self, item: Any) -> None:
        """Add one item."""

    def sync(self) -> int:
        """Force what was written to the disk; bytes up to which the file holds whole rows."""

    def close(self) -> None:
        """Close the file."""


WRITERS: dict[str, Callable[[BinaryIO], Writer]] = {
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "txt": TextWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}


def format_for(path: Path, given: str | None) -> str:
    """Format of an output file: as given, else by its ending.

    Raises:
        ConfigError: Unknown format, or it cannot be told.
    """
    fmt = given or SUFFIXES.get(path.suffix.lower())
    if fmt not in WRITERS:
        raise ConfigError(
            f"output_format must be one of {', '.join(FORMATS)}"
            + (f", got {fmt!r}" if fmt else f"; it cannot be told from {path.name!r}")
        )
    return fmt


def open_writer(path: Path, fmt: str, *, append: bool) -> Writer:
    """Open (and make the folders of) ``path``.

    Raises:
        ConfigError: The path cannot be written, or what is there cannot be appended to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if append:
            path.touch()
        file = path.open("r+b" if append else "w+b", buffering=0)
    except OSError as error:
        raise ConfigError(
            f"cannot write {str(path)!r}: {error.strerror}; choose another file_path"
        ) from error
    try:
        if append and fmt in ("jsonl", "txt"):
            file.seek(0, io.SEEK_END)
        return WRITERS[fmt](file)
    except BaseException:
        file.close()
        raise


def resume_writer(path: Path, fmt: str, length: int) -> Writer:
    """Open ``path`` as it was when ``sync`` gave ``length``: what came after is cut off.

    Raises:
        ConfigError: The file is gone, is shorter than that, or cannot be written.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            found = file.seek(0, io.SEEK_END)
            if found < length:
                raise ConfigError(
                    f"{str(path)!r} has {found} bytes, but the checkpoint was taken when it had "
                    f"{length}: it was changed meanwhile; put it back, or start anew with "
                    "resume='never'"
                )
            file.truncate(length)
            if fmt == "json":
                file.seek(length)
                file.write(JsonWriter.END)
    except OSError as error:
        raise ConfigError(
            f"cannot go on writing {str(path)!r} where the checkpoint left it: {error.strerror}; "
            "put the file back, or start anew with resume='never'"
        ) from error
    return open_writer(path, fmt, append=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value[:1] in "=+-@\t\r" and value[:1] else value
    if isinstance(value, bool | int | float):
        return str(value)
    return json_bytes(value).decode()
