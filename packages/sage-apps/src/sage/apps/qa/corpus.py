"""Documents and questions: the bundled ones about SAGE, or the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from sage.apps.ingest.changes import PATTERNS, find_changes
from sage.apps.ingest.passages import Passages
from sage.common.cli.output import warn
from sage.common.errors import ConfigError
from sage.lib.io.source import FileSource
from sage.lib.rag.retriever.backend import documents_of
from sage.lib.transform import DocumentParser
from sage.lib.transform.parser import ParseError
from sage.lib.types import Document, Query

_DATA = files("sage.apps.qa") / "data"


def load_passages(folder: Path | None = None) -> list[Document]:
    """Passages of every readable file below ``folder``; default: the bundled ones.

    A file that cannot be read is named in a warning, and the others go on.

    Raises:
        ConfigError: The folder does not exist or holds no such file.
    """
    if folder is None:
        with as_file(_DATA / "docs") as bundled:
            documents = list(documents_of(bundled))
    else:
        if not folder.is_dir():
            raise ConfigError(f"--docs: {str(folder)!r} is no folder")
        documents = list(_parsed(folder))
    cut = Passages({"chunk_size": 600})
    passages = [passage for document in documents for passage in cut.execute(document)]
    if not passages:
        raise ConfigError(f"--docs: there is no text in {str(folder)!r}")
    return passages


def _parsed(folder: Path) -> Iterator[Document]:
    found = find_changes(folder, {}, patterns=PATTERNS).write
    parser = DocumentParser({"root": str(folder.resolve())})
    try:
        for change in found:
            try:
                yield from parser.execute(change)
            except ParseError as error:
                warn(f"left out: {error}")
    finally:
        parser.close()


def load_questions(file: Path | None = None) -> list[Query]:
    """Questions of a txt, jsonl or csv file; default: the bundled ones.

    Raises:
        InputFileError: The file cannot be read; names the line.
    """
    if file is None:
        with as_file(_DATA / "questions.jsonl") as bundled:
            return list(FileSource({"file_path": str(bundled)}).run())
    return list(FileSource({"file_path": str(file)}).run())


def has_references(questions: Sequence[Query]) -> bool:
    """Whether any question comes with reference answers."""
    return any(query.answers for query in questions)
