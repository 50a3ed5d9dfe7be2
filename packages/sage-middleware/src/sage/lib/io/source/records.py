"""Records of a text file: ``(line number, value)`` from txt, jsonl, csv and parquet."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.errors import InputFileError
from sage.lib.io.source.following import Place, follow_files

Record = tuple[int, Any]
"""Line on which the record starts (from 1), and a string (txt) or a mapping (jsonl, csv)."""

SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def format_of(path: Path, given: str | None) -> str:
    """Format of a file: as given, else by its ending.

    Raises:
        ConfigError: The format is unknown, or cannot be told from the ending.
    """
    if given is not None:
        if given not in FORMATS:
            raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {given!r}")
        return given
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise ConfigError(
            f"cannot tell the format of {str(path)!r} from its ending; set format to one of "
            f"{', '.join(FORMATS)}"
        ) from None


def follow_records(
    path: Path,
    fmt: str,
    encoding: str,
    *,
    after: Place | None,
    stopping: Callable[[], bool],
    interval: float,
) -> Iterator[tuple[Record, Place]]:
    """Records in file order, and those that are written later, until ``stopping()``.

    Each comes with where to go on after it. A file that replaces another has its own header; its
    lines are counted on.

    Args:
        path, fmt, encoding: As for ``read_records``.
        after: Where to go on, instead of at the beginning.
        stopping, interval: As for ``follow_files``.

    Raises:
        InputFileError: The file is unreadable, or a line is broken; names both.
    """
    codec = _codec(encoding)
    try:
        for file in follow_files(path, codec, after=after, stopping=stopping, interval=interval):
            for record in READERS[fmt](file.read(codec), path, file.before + 1):
                if file.end > file.known:
                    yield record, file.place()
    except LookupError as error:
        raise ConfigError(f"unknown encoding {encoding!r}") from error


def read_records(path: Path, fmt: str, encoding: str) -> Iterator[Record]:
    """Records in file order.

    Raises:
        InputFileError: The file is missing or unreadable, or a line is broken; names both.
    """
    if fmt == "parquet":
        yield from _parquet(path)
        return
    try:
        # Undecodable bytes become lone surrogates, so that the line they are on can be named.
        with path.open(encoding=_codec(encoding), errors="surrogateescape", newline="") as file:
            yield from READERS[fmt](file, path, 1)
    except LookupError as error:
        raise ConfigError(f"unknown encoding {encoding!r}") from error
    except OSError as error:
        raise InputFileError(
            f"cannot read {str(path)!r} ({error.strerror}); relative paths start at the working "
            f"directory {str(Path.cwd())!r}",
            path=str(path),
            line=None,
        ) from error


def listed(cell: str) -> list[Any]:
    """What a cell for several values holds: a JSON list, else one text, or nothing."""
    if cell.startswith("["):
        with contextlib.suppress(orjson.JSONDecodeError):
            return list(orjson.loads(cell))
    return [cell] if cell else []


def _codec(encoding: str) -> str:
    # A byte-order mark is no part of the first line.
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading Parquet files") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        raise InputFileError(
            f"{path}, row {number + 1}: not readable as Parquet: {error}",
            path=str(path),
            line=number + 1,
        ) from error


def _lines(file: Iterable[str], path: Path, first: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, first):
        if not line.isascii():
            _check(line, number, path)
        yield number, line


def _check(line: str, number: int, path: Path) -> None:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputFileError(
            f"{path}, line {number}: character {error.start + 1} is not valid in this encoding; "
            "set encoding to that of the file",
            path=str(path),
            line=number,
        ) from error


def _txt(file: Iterable[str], path: Path, first: int) -> Iterator[Record]:
    for number, line in _lines(file, path, first):
        text = line.strip()
        if text:
            yield number, text


def _jsonl(file: Iterable[str], path: Path, first: int) -> Iterator[Record]:
    for number, line in _lines(file, path, first):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputFileError(
                f"{path}, line {number}: not valid JSON: {error}", path=str(path), line=number
            ) from error
        if not isinstance(value, dict | str):
            raise InputFileError(
                f"{path}, line {number}: expected an object or a string, got "
                f"{type(value).__name__}",
                path=str(path),
                line=number,
            )
        yield number, value


def _csv(file: Iterable[str], path: Path, first: int) -> Iterator[Record]:
    yield from _table(file, path, first, "excel")


def _tsv(file: Iterable[str], path: Path, first: int) -> Iterator[Record]:
    yield from _table(file, path, first, "excel-tab")


def _table(file: Iterable[str], path: Path, first: int, dialect: str) -> Iterator[Record]:
    rows = csv.reader((line for _, line in _lines(file, path, first)), dialect=dialect, strict=True)
    start = first
    try:
        head = [name.strip() for name in next(rows, [])]
        while True:
            start = rows.line_num + first
            row = next(rows, None)
            if row is None:
                return
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                raise InputFileError(
                    f"{path}, line {start}: {len(row)} columns, but the header has {len(head)} "
                    f"({', '.join(head)})",
                    path=str(path),
                    line=start,
                )
            yield start, dict(zip(head, row, strict=True))
    except csv.Error as error:
        raise InputFileError(
            f"{path}, line {start}: not valid CSV: {error}", path=str(path), line=start
        ) from error


READERS: dict[str, Callable[[Iterable[str], Path, int], Iterator[Record]]] = {
    "txt": _txt,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
}

FORMATS = (*sorted(READERS), "parquet")
