"""``FileSink``: writes every item to a file that is complete at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.contracts import SinkFunction
from sage.lib.io.sink.parquet import NO_CHECKPOINTS
from sage.lib.io.sink.writers import Writer, format_for, open_writer, resume_writer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class FileSink(SinkFunction[Any]):
    """Writes items as JSON, JSON lines, text, CSV or Parquet.

    Each item is in the file when ``execute`` returns, and a JSON file is a complete array after
    each item: a failed, canceled or killed job leaves a file that can be read. A run that goes on
    from a checkpoint cuts the file back to what it held then, so that no item is in it twice.

    A Parquet file (extra ``parquet``) is different: it can be read when the sink has closed it, and
    a job with checkpoints cannot write one.

    Example:
        >>> stream.sink(FileSink, {"output_format": "json", "file_path": "results/answers.json"})
    """

    path_keys = ("file_path",)
    """Settings that name files: a replay puts these elsewhere."""

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            file_path: The file; relative to the working directory. Missing folders are made.
            output_format: ``json`` (an array), ``jsonl``, ``txt`` (one line per item), ``csv`` or
                ``parquet``; default: by the ending.
            append: Go on after what is in the file, instead of replacing it.
        """

        file_path: str
        output_format: str | None = None
        append: bool = False

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._path = Path(self.config.file_path).expanduser()
        self._format = format_for(self._path, self.config.output_format)
        self._writer: Writer | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Open the file.

        Raises:
            ConfigError: It cannot be written, several subtasks would write it, or the job makes
                checkpoints, which cannot tell what is in a Parquet file.
        """
        if ctx.parallelism > 1:
            raise ConfigError(
                f"step {ctx.operator!r} has parallelism {ctx.parallelism}, but one file has one "
                "writer: set parallelism=1"
            )
        if ctx.epoch is not None and self._format == "parquet":
            raise ConfigError(f"step {ctx.operator!r} writes {str(self._path)!r}: {NO_CHECKPOINTS}")
        if not ctx.restored:
            self._begin()

    def _begin(self) -> Writer:
        self._writer = open_writer(self._path, self._format, append=self.config.append)
        return self._writer

    def execute(self, item: Any) -> None:
        """Write one item."""
        (self._writer or self._begin()).write(item)

    def snapshot(self) -> dict[str, Any]:
        """How much of the file belongs to a checkpoint; it is on the disk then."""
        return {"path": str(self._path), "length": (self._writer or self._begin()).sync()}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut the file back to a checkpoint, and go on writing behind it.

        Raises:
            ConfigError: The file is gone, or shorter than it was.
        """
        if state["path"] == str(self._path):
            self._writer = resume_writer(self._path, self._format, state["length"])
        else:  # the configuration names another file now
            self._begin()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
