"""What a run leaves in its folder: ``run.json``, ``results.jsonl``, ``summary.json``.

``results.jsonl`` gets one line per question, written whole and flushed as soon as the question is
scored: a run that is killed has lost only what was in flight, and goes on with ``--resume``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from sage.common.errors import ConfigError, NotFoundError
from sage.lib.errors import InputFileError, ItemError
from sage.lib.evaluate.judge import REASONS
from sage.lib.evaluate.scores import answer_of
from sage.lib.types import Evaluation, Query

RUN, RESULTS, SUMMARY = "run.json", "results.jsonl", "summary.json"
VERSION = 1


class ResultFile:
    """Appends results; given to the pipeline as its sink.

    Args:
        folder: Of the run; made if needed.
        queries: The questions of this run.

    Attributes:
        written: Lines written by this object.
    """

    def __init__(self, folder: Path, queries: Iterable[Query]) -> None:
        self._path = folder / RESULTS
        self._ids = {query.id for query in queries}
        self._by_text: dict[str, str] = {}
        for query in queries:
            self._by_text.setdefault(query.text, query.id)
        self.written = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("ab")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, item: Any) -> None:
        """Write one scored item.

        Raises:
            ItemError: It belongs to no question of the data set.
        """
        row = row_of(item)
        identity = row["id"] if row["id"] in self._ids else self._by_text.get(row["question"])
        if identity is None:
            raise ItemError(
                f"a result belongs to no question of the data set: id {row['id']!r}, question "
                f"{row['question'][:80]!r}; the steps of the pipeline must hand on their Query"
            )
        row["id"] = identity
        self._file.write(orjson.dumps(row, default=str) + b"\n")
        self._file.flush()
        self.written += 1


def row_of(item: Any) -> dict[str, Any]:
    """One line of results. Passages are named, not repeated: they are in the corpus."""
    answer = answer_of(item)
    scores = item.scores if isinstance(item, Evaluation) else {}
    row: dict[str, Any] = {
        "id": answer.query.id,
        "question": answer.query.text,
        "answer": answer.text,
        "references": list(answer.query.answers),
        "scores": dict(scores),
        "passages": [[passage.id, passage.score] for passage in answer.passages],
        "model": answer.model,
        "retries": answer.retries,
    }
    reasons = answer.metadata.get(REASONS)
    if reasons:
        row[REASONS] = dict(reasons)
    return row


def start(folder: Path, run: Mapping[str, Any], *, resume: bool) -> set[str]:
    """Make the folder of a run, or go on with the one that is there.

    Args:
        folder: Of the run.
        run: What decides the scores: ``pipeline, dataset, metrics`` and their fingerprints.
        resume: Go on.

    Returns:
        Ids of the questions that have results already.

    Raises:
        ConfigError: The folder has results and ``resume`` was not asked for, or they are of
            another pipeline, data set or set of metrics.
    """
    path = folder / RUN
    run = {"version": VERSION, **run}
    found = folder / RESULTS
    # A run that ended before its first result holds nothing to keep.
    if not path.is_file() or not found.is_file() or found.stat().st_size == 0:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, run)
        return set()
    if not resume:
        raise ConfigError(
            f"{folder} holds a run already; go on with --resume, or choose another --out"
        )
    earlier = _read(path)
    for key, value in run.items():
        if earlier.get(key) != orjson.loads(orjson.dumps(value)):
            raise ConfigError(
                f"{folder} cannot be resumed: its {key} was {earlier.get(key)!r}, now it is "
                f"{value!r}; choose another --out"
            )
    _drop_broken_end(found)
    return {row["id"] for row in read_rows(folder)}


def read_run(folder: Path) -> dict[str, Any]:
    """What was run.

    Raises:
        NotFoundError: The folder holds no run.
    """
    path = folder / RUN
    if not path.is_file():
        raise NotFoundError(f"{folder}: holds no run (no {RUN}); give the --out of `sage eval run`")
    return _read(path)


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The results of a run; a line that was cut by a crash at the end is left out.

    Raises:
        InputFileError: Another line is broken.
    """
    path = folder / RESULTS
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            try:
                row = orjson.loads(raw)
                assert isinstance(row["id"], str)
                assert isinstance(row["scores"], dict)
            except (ValueError, KeyError, TypeError, AssertionError) as exc:
                if not raw.endswith(b"\n"):
                    return
                raise InputFileError(
                    f"{path}:{line}: is no result of an evaluation", path=str(path), line=line
                ) from exc
            yield row


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Keep the totals beside the results."""
    _write(folder / SUMMARY, summary)


def _drop_broken_end(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str) + b"\n")
    temporary.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except ValueError as exc:
        raise ConfigError(f"{path}: is no JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    return value
