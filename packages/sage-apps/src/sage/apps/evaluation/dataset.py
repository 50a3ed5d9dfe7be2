"""A data set: a folder with ``queries.jsonl`` (and ``corpus.jsonl``, ``qrels.tsv``), or one file.

Predecessor: the user's files; successor: ``sage.apps.evaluation.pipelines``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError, NotFoundError
from sage.lib.errors import InputFileError
from sage.lib.io.source.records import format_of, listed, read_records
from sage.lib.types import Document, Query

QUERIES, CORPUS, QRELS = "queries.jsonl", "corpus.jsonl", "qrels.tsv"


@attrs.frozen(kw_only=True)
class Dataset:
    """Questions with what is known about their answers.

    Attributes:
        path: Where it was read from: a folder, or a file of questions.
        queries: With ``answers``, and in ``metadata`` ``qrels`` (judged documents) and ``spans``
            (marked places) where the files have them.
        fingerprint: Hash of the files.
        scope: Key that limits what a question is answered from.
    """

    path: Path
    queries: tuple[Query, ...]
    fingerprint: str
    scope: str | None = None

    @property
    def name(self) -> str:
        """Name of the folder or file."""
        path = self.path.resolve()
        return path.stem if path.is_file() else path.name

    def has(self, key: str) -> bool:
        """Whether a question has ``qrels``, ``spans`` or ``answers``."""
        if key == "answers":
            return any(query.answers for query in self.queries)
        return any(query.metadata.get(key) for query in self.queries)

    def documents(self) -> list[Document]:
        """The documents of ``corpus.jsonl``.

        Raises:
            ConfigError: There is no such file, or it is empty.
            InputFileError: A line is broken.
        """
        path = self.path / CORPUS
        if not path.is_file():
            raise ConfigError(
                f"{path}: no such file; this pipeline searches the data set's corpus. To search "
                "files of your own: `sage app run ingest`, and a pipeline file with a retriever"
            )
        found: dict[str, Document] = {}
        for line, row in _rows(path):
            document = Document(
                id=_text(row, "id", path, line),
                text=_text(row, "text", path, line),
                metadata={key: row[key] for key in row if key not in ("id", "text")},
            )
            if document.id in found:
                raise _error(path, line, f"the id {document.id!r} is used twice")
            found[document.id] = document
        if not found:
            raise ConfigError(f"{path}: holds no documents")
        return list(found.values())


def load_dataset(
    path: Path, *, limit: int | None = None, answerable: bool = False, scope: str | None = None
) -> Dataset:
    """Read a data set.

    Args:
        path: A folder with ``queries.jsonl`` (``id, text``, optionally ``answers``, ``documents``:
            ids of those that answer it, and ``references``, which are spans: ``corpus_id`` on the
            question or each span, ``start, end``), and optionally ``corpus.jsonl`` (``id, title,
            text``) and ``qrels.tsv`` (tab-separated question id, document id, grade). Or one jsonl,
            csv, tsv or txt file of questions.
        limit: Only the first questions.
        answerable: Only questions with reference answers.
        scope: Key that questions and documents have: a question is answered from the documents
            with its own value only (it becomes the filter ``metadata["where"]``).

    Raises:
        NotFoundError: There is no such folder or no questions in it.
        InputFileError: A line is broken; names it.
        ConfigError: No question is left.
    """
    file = path if path.is_file() else path / QUERIES
    if not file.is_file():
        raise NotFoundError(
            f"{file}: no such file; a data set is a jsonl or csv file of questions (text, answers, "
            f"documents), or a folder with {QUERIES} and optionally {CORPUS} (id, text) and "
            f"{QRELS} (question, document, grade)"
        )
    digest = hashlib.blake2b(digest_size=8)
    for part in (file, path / CORPUS, path / QRELS):
        digest.update(part.read_bytes() if part.is_file() else b"-")
    judged = _qrels(path / QRELS)
    queries: dict[str, Query] = {}
    for line, row in _rows(file):
        query = _query(row, file, line, judged)
        if scope is not None:
            if not isinstance(query.metadata.get(scope), str | int | float):
                known = ", ".join(sorted(query.metadata)) or "no further keys"
                raise _error(
                    file, line, f"--scope {scope}: the question has no such value (it has {known})"
                )
            where = {scope: query.metadata[scope]}
            query = attrs.evolve(query, metadata={**query.metadata, "where": where})
        if query.id in queries:
            raise _error(file, line, f"the id {query.id!r} is used twice")
        if query.answers or not answerable:
            queries[query.id] = query
    chosen = tuple(queries.values())[:limit]
    if not chosen:
        why = "no question has reference answers" if answerable else "it holds no questions"
        raise ConfigError(f"{file}: {why}")
    return Dataset(path=path, queries=chosen, fingerprint=digest.hexdigest(), scope=scope)


def _query(
    row: dict[str, Any], path: Path, line: int, judged: dict[str, dict[str, float]]
) -> Query:
    identity = str(row.get("id", f"line-{line}"))
    answers, documents = (_texts(row, key, path, line) for key in ("answers", "documents"))
    asked = next((key for key in ("text", "question", "query") if key in row), "text")
    taken = ("id", asked, "answers", "documents", "references")
    metadata = {key: row[key] for key in row if key not in taken}
    if identity in judged or documents:
        metadata["qrels"] = judged.get(identity) or dict.fromkeys(documents, 1.0)
    references = row.get("references")
    if references:
        try:
            metadata["spans"] = [
                {
                    "document_id": str(each.get("corpus_id", row.get("corpus_id"))),
                    "start": int(each["start"]),
                    "end": int(each["end"]),
                }
                for each in references
            ]
        except (TypeError, KeyError, ValueError, AttributeError) as exc:
            raise _error(path, line, "'references' must list spans: corpus_id, start, end") from exc
    text = _text(row, asked, path, line)
    return Query(text=text, id=identity, answers=answers, metadata=metadata)


def _texts(row: dict[str, Any], key: str, path: Path, line: int) -> tuple[str, ...]:
    given = row.get(key) or ()
    if isinstance(given, str):
        given = listed(given)
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise _error(path, line, f"{key!r} must be a list of strings, got {given!r:.80}")
    return tuple(given)


def _qrels(path: Path) -> dict[str, dict[str, float]]:
    judged: dict[str, dict[str, float]] = {}
    if not path.is_file():
        return judged
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        parts = text.split("\t")
        try:
            # The first grade decides whether line 1 is a header.
            judged.setdefault(parts[0], {})[parts[1]] = float(parts[2])
        except (IndexError, ValueError) as exc:
            if line == 1:
                judged.clear()
                continue
            raise _error(path, line, "expected question id, document id, grade") from exc
    return judged


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, record in read_records(path, format_of(path, None), "utf-8"):
        yield line, {"text": record} if isinstance(record, str) else dict(record)


def _text(row: dict[str, Any], key: str, path: Path, line: int) -> str:
    value = row.get(key)
    if isinstance(value, int) and key == "id":
        return str(value)
    if not isinstance(value, str):
        raise _error(path, line, f"{key!r} must be a string, got {value!r}")
    return value


def _error(path: Path, line: int, message: str) -> InputFileError:
    return InputFileError(f"{path}, line {line}: {message}", path=str(path), line=line)
