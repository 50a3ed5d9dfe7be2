"""``DocumentParser``: the text of a txt, Markdown, HTML, PDF or Word file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import StepTimeoutError
from sage.common.paths import within
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.runtime.process.pool import ProcessPool
from sage.kernel.runtime.process.remote import WorkerDiedError
from sage.lib.adapt import derived_id
from sage.lib.contracts import TransformFunction
from sage.lib.errors import ItemError
from sage.lib.io.source.changes import FileChange
from sage.lib.transform.parser.limits import Limits, ParseError
from sage.lib.transform.parser.text import parse_text
from sage.lib.transform.parser.worker import ParseInWorker
from sage.lib.types import Document

FORMATS = ("txt", "md", "html", "pdf", "docx")
SUFFIXES: Mapping[str, str] = {
    ".txt": "txt",
    ".text": "txt",
    ".log": "txt",
    ".rst": "txt",
    ".md": "md",
    ".markdown": "md",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}

Parsable = FileChange | Document | str | os.PathLike[str] | Mapping[str, Any]
"""What the parser takes: see ``DocumentParser``."""

_positive = attrs.validators.ge(1)


@attrs.frozen
class _File:
    """A file to be read: its bytes, or its text where the item brought it."""

    id: str
    name: str
    data: bytes | None
    path: Path | None
    metadata: Mapping[str, Any]
    format: str | None = None


class DocumentParser(TransformFunction):
    """Reads files: one item, one document.

    An item is a ``FileChange`` of ``DirectorySource`` (a removed file gives nothing), the path of a
    file (a string, a path, or a mapping with ``path``), or its content: a mapping with ``content``
    (bytes or text) and ``name``, or a ``Document`` whose text is parsed as ``format`` (``txt`` when
    nothing says otherwise).

    HTML and Word headings become Markdown headings, so that ``MarkdownSplitter`` works on all
    formats. The metadata get ``source``, ``format`` and what the file says (``title``, ``author``,
    ``language``, ``pages``, ``page_offsets``).

    HTML, PDF and Word files are read in a process of their own with bounded memory, which is killed
    when a file takes longer than ``timeout``. What exceeds a limit is refused with ``ParseError``
    and its ``reason``, never cut; with ``on_error="dead_letter"`` on the step the others go on.

    Example:
        >>> stream.flatmap(DocumentParser, {"timeout": 20}, on_error="dead_letter")
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            format: ``txt``, ``md``, ``html``, ``pdf`` or ``docx``; default: by the ending.
            root: Only files below this folder are read, links followed. Set it when the paths come
                from outside; without it any file that the process can read is read.
            encoding: Of text files without a byte-order mark.
            timeout: Seconds for one file.
            max_bytes: Of a file.
            max_unpacked_bytes: Of what is inside of a Word file.
            max_pages: Of a PDF file.
            max_chars: Of the text of a file.
            max_memory_mb: Megabytes that reading may take beyond what the process starts with
                (Linux).
            password: Of encrypted PDF files.
            skip_tags: HTML elements whose text is left out, beside scripts and styles.
        """

        format: str | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.in_(FORMATS))
        )
        root: str | None = None
        encoding: str = "utf-8"
        timeout: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
        max_bytes: int = attrs.field(default=64_000_000, validator=_positive)
        max_unpacked_bytes: int = attrs.field(default=256_000_000, validator=_positive)
        max_pages: int = attrs.field(default=5_000, validator=_positive)
        max_chars: int = attrs.field(default=20_000_000, validator=_positive)
        max_memory_mb: int = attrs.field(default=1_024, validator=_positive)
        password: str = attrs.field(default="", repr=False)
        skip_tags: tuple[str, ...] = ("nav", "footer")

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        names = [field.name for field in attrs.fields(Limits)]
        self._limits = Limits(**{name: getattr(self.config, name) for name in names})
        self._pool: ProcessPool | None = None

    def execute(self, item: Parsable) -> Iterator[Document]:
        """Yield the document of one file.

        Raises:
            ParseError: The file is missing, broken, encrypted, empty, too large or too slow.
            ItemError: The item names no file and holds none.
            ConfigError: The path leads out of ``root``.
            MissingExtraError: The package that reads this format is not installed.
        """
        if isinstance(item, FileChange) and item.change == "removed":
            return
        file = self._file(item)
        fmt = file.format or self._format(file)
        data = file.data if file.data is not None else self._read(file)
        if fmt in ("txt", "md"):
            text, facts = parse_text(data, file.name, self._limits, self.config.encoding)
        else:
            text, facts = self._in_process(fmt, file.name, data)
        yield Document(
            id=file.id,
            text=text,
            metadata={"source": file.name, "format": fmt, **facts, **file.metadata},
        )

    def close(self) -> None:
        """End the reading process."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _file(self, item: Any) -> _File:
        given = self.config.format
        if isinstance(item, FileChange):
            known = {"hash": item.hash} if item.hash else {}
            return _File(item.id, item.id, None, self._path(item.path), known, given)
        if isinstance(item, str | os.PathLike):
            name = os.fspath(item)
            return _File(name, name, None, self._path(name), {}, given)
        if isinstance(item, Document):
            return _File(
                item.id,
                str(item.metadata.get("source", item.id)),
                item.text.encode("utf-8", "replace"),
                None,
                item.metadata,
                given or item.metadata.get("format") or "txt",
            )
        if isinstance(item, Mapping):
            metadata = item.get("metadata") or {}
            if isinstance(item.get("path"), str | os.PathLike):
                name = os.fspath(item["path"])
                identity = str(item.get("id") or name)
                fmt = given or item.get("format")
                return _File(identity, name, None, self._path(name), metadata, fmt)
            content = item.get("content")
            if isinstance(content, str | bytes):
                data = content.encode("utf-8", "replace") if isinstance(content, str) else content
                name = str(item.get("name") or item.get("id") or derived_id(repr(data)))
                identity = str(item.get("id") or name)
                return _File(identity, name, data, None, metadata, given or item.get("format"))
        raise ItemError(
            f"cannot tell which file to read from a {type(item).__name__} {item!r:.80}: expected a "
            "FileChange, a path, a Document, or a mapping with 'path' or with 'content' and 'name'"
        )

    def _path(self, path: str) -> Path:
        root = self.config.root
        return Path(path).expanduser() if root is None else within(Path(root).expanduser(), path)

    def _format(self, file: _File) -> str:
        suffix = Path(file.name).suffix.lower()
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
        raise ParseError(
            f"{file.name}: cannot tell the format from the ending {suffix!r}; known are "
            f"{', '.join(SUFFIXES)}; or set format to one of {', '.join(FORMATS)}",
            source=file.name,
            reason="format",
        )

    def _read(self, file: _File) -> bytes:
        path = file.path
        assert path is not None
        most = self.config.max_bytes
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for a writer.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise ParseError(
                        f"{file.name}: not a regular file", source=file.name, reason="missing"
                    )
                data = stream.read(most + 1)
        except OSError as error:
            raise ParseError(
                f"{file.name}: cannot be read ({error.strerror})",
                source=file.name,
                reason="missing",
            ) from error
        self._check_size(len(data), file.name)
        return data

    def _check_size(self, size: int, name: str) -> None:
        if size > self.config.max_bytes:
            raise ParseError(
                f"{name}: larger than max_bytes {self.config.max_bytes:,}",
                source=name,
                reason="size",
            )

    def _in_process(self, fmt: str, name: str, data: bytes) -> tuple[str, dict[str, Any]]:
        self._check_size(len(data), name)
        if self._pool is None:
            limits = attrs.asdict(self._limits)
            memory = self.config.max_memory_mb * 1_000_000
            self._pool = ProcessPool(
                FunctionSpec(ParseInWorker, (limits, memory), {}),
                workers=1,
                operator="DocumentParser",
            )
        seconds = self.config.timeout
        [(good, value)] = self._pool.call(0, [[fmt, name, data]], timeout=seconds)
        if good:
            text, facts = value
            return text, facts
        if isinstance(value, StepTimeoutError):
            raise ParseError(
                f"{name}: reading took longer than {seconds:g} s and was stopped; raise timeout if "
                "that is meant",
                source=name,
                reason="timeout",
            ) from value
        if isinstance(value, WorkerDiedError):
            raise ParseError(
                f"{name}: the process that read it died; the file is broken or hostile",
                source=name,
                reason="crash",
            ) from value
        raise value
