"""Documents and questions: the bundled ones about SAGE, or the user's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

import attrs

from sage.common.errors import ConfigError
from sage.lib.io.source import FileSource
from sage.lib.rag.retriever.backend import documents_of
from sage.lib.transform import MarkdownSplitter
from sage.lib.types import Document, Query

_DATA = files("sage.apps.qa") / "data"


def load_passages(folder: Path | None = None) -> list[Document]:
    """Passages of every ``.md`` and ``.txt`` file below ``folder``; default: the bundled ones.

    Raises:
        ConfigError: The folder does not exist or holds no such file.
    """
    if folder is None:
        with as_file(_DATA / "docs") as bundled:
            documents = documents_of(bundled)
    else:
        if not folder.is_dir():
            raise ConfigError(f"--docs: {str(folder)!r} is no folder")
        documents = documents_of(folder)
    splitter = MarkdownSplitter({"max_chars": 600})
    passages = [_titled(piece) for document in documents for piece in splitter.execute(document)]
    if not passages:
        raise ConfigError(f"the documents in {str(folder)!r} are empty")
    return passages


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


def _titled(passage: Document) -> Document:
    source = str(passage.metadata.get("source", passage.parent_id))
    return attrs.evolve(passage, metadata={**passage.metadata, "source": source})
