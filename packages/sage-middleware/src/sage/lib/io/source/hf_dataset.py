"""``HFDatasetBatch``: the rows of a Hugging Face data set, from a directory or by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.api.functions import BatchFunction
from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.adapt import as_document, as_query
from sage.lib.errors import InputFileError, ItemError


class HFDatasetBatch(BatchFunction[Any]):
    """Yields the rows of one split, in order.

    ``hf_dataset_name`` is a directory (one that ``save_to_disk`` wrote, or one with JSON, JSONL,
    CSV, Parquet or text files) or a name on the hub, which needs the network. Code that a data set
    brings along is never run.

    By default each row becomes a ``Query`` with the keys that ``FileSource`` knows; SQuAD's answers
    are read too.

    Example:
        >>> env.from_batch(HFDatasetBatch, {"hf_dataset_name": "data/squad", "hf_split": "dev"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            hf_dataset_name: A directory, or a name on the hub.
            hf_dataset_config: Configuration (subset), of a data set that has several.
            hf_split: The split. A directory without splits has only ``train``.
            limit: Most rows; default: all.
            item_type: ``query``, ``document`` or ``record`` (the row as a dictionary).
            text_field, id_field, answers_field: Columns of the text, id and reference answers;
                default: the usual names.
            streaming: Read from the hub as it goes, without storing the data set first; a
                directory is always read in place.
        """

        hf_dataset_name: str
        hf_dataset_config: str | None = None
        hf_split: str = "train"
        limit: int | None = None
        item_type: str = attrs.field(
            default="query", validator=attrs.validators.in_(("query", "record", "document"))
        )
        text_field: str | None = None
        id_field: str | None = None
        answers_field: str | None = None
        streaming: bool = False

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._offset = 0
        self._skip = 0

    @property
    def offset(self) -> int:
        """Rows handed on so far; ``seek`` to it to go on after them."""
        return self._offset

    def seek(self, offset: int) -> None:
        """Start after the first ``offset`` rows; call before ``run``."""
        self._skip = self._offset = offset

    def run(self) -> Iterator[Any]:
        """Yield the rows.

        Raises:
            ConfigError: There is no such data set or split.
            InputFileError: A row lacks a column; names the row.
            MissingExtraError: The package ``datasets`` is not installed.
        """
        rows = self._rows()
        self._offset = self._skip
        if self._skip:
            if hasattr(rows, "__len__") and self._skip >= len(rows):
                return
            rows = rows.skip(self._skip)
        for row in rows:
            if self.config.limit is not None and self._offset >= self.config.limit:
                return
            item = self._item(row, self._offset)
            self._offset += 1
            yield item

    def _rows(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtraError("datasets", "eval", "HFDatasetBatch") from error
        settings = self.config
        path = Path(settings.hf_dataset_name).expanduser()
        try:
            if not path.is_dir():
                return datasets.load_dataset(
                    settings.hf_dataset_name,
                    settings.hf_dataset_config,
                    split=settings.hf_split,
                    streaming=settings.streaming,
                )
            found: Any
            if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
                found = datasets.load_from_disk(str(path))
                if not isinstance(found, datasets.DatasetDict):
                    found = {"train": found}
                self._check_config(found)
            else:
                # Streaming reads the files in place; otherwise a copy would go to the cache.
                found = datasets.load_dataset(str(path), settings.hf_dataset_config, streaming=True)
        except (OSError, ValueError, ConnectionError) as error:
            raise ConfigError(
                f"no data set {settings.hf_dataset_name!r} ({type(error).__name__}: "
                f"{str(error)[:300]}); give a directory, or a name on the hub with a network"
            ) from error
        if settings.hf_split not in found:
            raise ConfigError(
                f"the data set {settings.hf_dataset_name!r} has no split {settings.hf_split!r}; it "
                f"has {', '.join(map(str, found))}"
            )
        return found[settings.hf_split]

    def _check_config(self, saved: Mapping[str, Any]) -> None:
        """Raises ConfigError if ``save_to_disk`` wrote another configuration than is asked for."""
        wanted = self.config.hf_dataset_config
        names = {rows.info.config_name or "default" for rows in saved.values()}
        if wanted is not None and names != {wanted}:
            raise ConfigError(
                f"the data set {self.config.hf_dataset_name!r} was saved from the configuration "
                f"{', '.join(sorted(names))}, and hf_dataset_config is {wanted!r}; leave it out"
            )

    def _item(self, row: Mapping[str, Any], number: int) -> Any:
        settings = self.config
        if settings.item_type == "record":
            return dict(row)
        document = settings.item_type == "document"
        result = dict(row)
        fields = (
            ("text" if document else "query", settings.text_field),
            ("id", settings.id_field),
            ("answers", settings.answers_field),
        )
        where = f"{settings.hf_dataset_name}, split {settings.hf_split}, row {number}"
        for key, field in fields:
            if field is None:
                continue
            if field not in row:
                raise InputFileError(
                    f"{where}: no column {field!r}; it has {', '.join(map(str, row))}",
                    path=settings.hf_dataset_name,
                    line=number + 1,
                )
            result[key] = row[field]
            if field != key:
                result.pop(field, None)
        try:
            item = as_document(result) if document else as_query(result)
        except ItemError as error:
            raise InputFileError(
                f"{where}: {error.message}; name it with text_field, or set item_type to record",
                path=settings.hf_dataset_name,
                line=number + 1,
            ) from error
        if row.get(settings.id_field or "id") in (None, ""):
            item = attrs.evolve(item, id=f"{settings.hf_split}:{number}")
        return item
