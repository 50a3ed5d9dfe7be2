"""``FileSource``: questions, records or documents from text, JSONL, CSV or Parquet files."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_query
from sage.lib.contracts import SourceFunction
from sage.lib.errors import InputFileError, ItemError
from sage.lib.io.source.following import Place
from sage.lib.io.source.records import Record, follow_records, format_of, listed, read_records
from sage.lib.types import Query


class FileSource(SourceFunction[Any]):
    """Reads a file, or all files that match a glob, record by record.

    A line of a text file that is not blank is one record; JSONL has one object (or string) per
    line; CSV and TSV have a header line. By default each record becomes a ``Query``: a string is
    the question; an object gives ``query``, ``question``, ``text`` or ``input``, and optionally
    ``id`` and ``answers``. A record without ``id`` gets ``NAME:LINE``. A Parquet file (extra
    ``parquet``) has one record per row. With a glob the files come in the order of their paths, and
    ``NAME`` is the path below the folder that the glob starts from.

    With ``follow`` the source does not end: it goes on with the lines that are written to the file
    later, also when that is replaced by a new one of its name, until the job is canceled (or
    ``limit`` is reached). A run that goes on from a checkpoint goes on after the last line, also
    when the file has got another name in its folder meanwhile, and then reads the new one.

    Example:
        >>> env.from_source(FileSource, {"file_path": "data/questions.txt", "batch_size": 10})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            file_path: The file, or a glob such as ``data/**/*.jsonl``; relative to the working
                directory.
            batch_size: Records read and parsed ahead at a time. The items are still handed on one
                by one; at most this many are read before they are wanted.
            format: ``txt``, ``jsonl``, ``csv``, ``tsv`` or ``parquet``; default: by the ending.
            encoding: Of the file. A byte-order mark is skipped.
            limit: Most items; default: all.
            item_type: What to make of a record: ``query`` (a ``Query``), ``record`` (the string or
                mapping itself) or ``document`` (a ``Document``).
            text_field: Key or column of the text (question or document); default: the usual names.
            id_field: Key or column of the id.
            answers_field: Key or column of the reference answers: a list, a string, or a JSON list
                in a CSV cell.
            follow: Go on with what is written to the file later. One file, no Parquet.
            poll_interval: Seconds between two looks at a file that has nothing new.
        """

        file_path: str
        batch_size: int = attrs.field(default=64, validator=attrs.validators.ge(1))
        format: str | None = None
        encoding: str = "utf-8"
        limit: int | None = None
        item_type: str = attrs.field(
            default="query", validator=attrs.validators.in_(("query", "record", "document"))
        )
        text_field: str | None = None
        id_field: str | None = None
        answers_field: str | None = None
        follow: bool = False
        poll_interval: float = attrs.field(default=0.2, validator=attrs.validators.gt(0))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._path = Path(self.config.file_path).expanduser()
        # A file whose name only looks like a glob is that file.
        self._is_glob = glob.has_magic(str(self._path)) and not self._path.exists()
        self._base: Path | None = None
        fmt = None
        if not self._is_glob or self.config.format is not None:
            fmt = format_of(self._path, self.config.format)
        if self.config.follow and (self._is_glob or fmt == "parquet"):
            raise ConfigError(
                "FileSource: follow is for one text, jsonl, csv or tsv file, got "
                f"{self.config.file_path!r}"
            )
        self._begin: tuple[int, Place | None] = (0, None)
        self._handed = 0
        self._place: Place | None = None

    @property
    def offset(self) -> Any:
        """Items handed on so far, and where in which file that was with ``follow``.

        ``seek`` to it to go on after them.
        """
        place = self._place
        if place is None and self.config.follow:
            place = Place.before_all(self._path)
        return self._handed if place is None else {"items": self._handed, **attrs.asdict(place)}

    def seek(self, offset: Any) -> None:
        """Start after the items of an ``offset``; call before ``run``.

        Raises:
            ConfigError: It is from a run with another setting of ``follow``.
        """
        followed = isinstance(offset, Mapping)
        if offset and followed != self.config.follow:
            raise ConfigError(
                f"FileSource: the checkpoint was taken {'with' if followed else 'without'} follow; "
                "set it as it was, or start anew with resume='never'"
            )
        if isinstance(offset, Mapping):
            place = Place(**{key: offset[key] for key in offset if key != "items"})
            self._begin = offset["items"], place
        else:
            self._begin = offset, None
        self._handed, self._place = self._begin

    def run(self) -> Iterator[Any]:
        """Yield the items.

        Raises:
            InputFileError: Names file and line.
        """
        settings = self.config
        self._handed, self._place = self._begin
        if settings.follow:
            yield from self._follow()
            return
        wanted = islice(self._records(), self._handed, settings.limit)
        while chunk := list(islice(wanted, settings.batch_size)):
            for path, record in chunk:
                self._path = path
                item = self._item(record)
                self._handed += 1
                yield item

    def _follow(self) -> Iterator[Any]:
        settings, ctx = self.config, getattr(self, "ctx", None)
        records = follow_records(
            self._path,
            format_of(self._path, settings.format),
            settings.encoding,
            after=self._place,
            stopping=lambda: ctx is not None and ctx.stopping,
            interval=settings.poll_interval,
        )
        left = None if settings.limit is None else max(0, settings.limit - self._handed)
        for record, place in islice(records, left):
            item = self._item(record)
            self._handed, self._place = self._handed + 1, place
            yield item

    def _records(self) -> Iterator[tuple[Path, Record]]:
        paths = [self._path]
        if self._is_glob:
            pattern = self._path.as_posix()
            self._base = _fixed(self._path)
            inner = self._path.relative_to(self._base).as_posix()
            paths = sorted(path for path in self._base.glob(inner) if path.is_file())
            if not paths:
                raise InputFileError(
                    f"no file matches {pattern!r}; relative paths start at the working directory "
                    f"{str(Path.cwd())!r}",
                    path=pattern,
                    line=None,
                )
        for path in paths:
            fmt = format_of(path, self.config.format)
            for record in read_records(path, fmt, self.config.encoding):
                yield path, record

    def _item(self, record: Record) -> Any:
        line, value = record
        settings = self.config
        if settings.item_type == "record":
            return value
        if isinstance(value, Mapping):
            value = self._renamed(value, line)
        try:
            if settings.item_type == "document":
                document = as_document(value)
                named = isinstance(value, Mapping) and value.get("id") not in (None, "")
                return document if named else attrs.evolve(document, id=self._line_id(line))
            query = as_query(value)
        except ItemError as error:
            raise InputFileError(
                f"{self._path}, line {line}: {error.message}; name it with text_field, or set "
                "item_type to record",
                path=str(self._path),
                line=line,
            ) from error
        if not query.text.strip():
            raise InputFileError(
                f"{self._path}, line {line}: the question is empty", path=str(self._path), line=line
            )
        return query if query.id else _with_id(query, self._line_id(line))

    def _renamed(self, record: Mapping[str, Any], line: int) -> dict[str, Any]:
        settings = self.config
        result = dict(record)
        text_key = "text" if settings.item_type == "document" else "query"
        for key, field in (
            (text_key, settings.text_field),
            ("id", settings.id_field),
            ("answers", settings.answers_field),
        ):
            if field is None:
                continue
            if field not in result:
                raise InputFileError(
                    f"{self._path}, line {line}: no field {field!r}; the record has "
                    f"{', '.join(sorted(map(str, record)))}",
                    path=str(self._path),
                    line=line,
                )
            result[key] = result.pop(field)
        answers = result.get("answers")
        if answers == "":
            del result["answers"]
        elif isinstance(answers, str):
            result["answers"] = listed(answers)
        return result

    def _line_id(self, line: int) -> str:
        if self._base is None:
            return f"{self._path.stem}:{line}"
        return f"{self._path.relative_to(self._base).as_posix()}:{line}"


def _fixed(pattern: Path) -> Path:
    """The folder of a glob that has no wildcard."""
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def _with_id(query: Query, identity: str) -> Query:
    return Query(text=query.text, id=identity, answers=query.answers, metadata=query.metadata)
