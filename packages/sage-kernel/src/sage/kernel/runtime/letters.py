"""The dead letters of a job: where they are kept, opened when there are any.

Predecessor: ``sage.kernel.runtime.failure``; successor: ``sage.kernel.runtime.deadletter``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sage.kernel.graph.model import Node

if TYPE_CHECKING:
    from sage.kernel.runtime.deadletter import DeadLetters


class JobLetters:
    """Dead letters of one job, in ``<dir>/<name>-<id>.jsonl``; may be used from any thread.

    Args:
        config: ``dead_letter_dir`` of the environment; default: in SAGE's state folder.
    """

    def __init__(self, config: Mapping[str, Any], job_name: str, job_id: str) -> None:
        self._config = config
        self._name = job_name
        self._id = job_id
        self._lock = threading.Lock()
        self._letters: DeadLetters | None = None

    def write(
        self, node: Node, item_id: str | None, item: Any, error: BaseException, attempts: int
    ) -> dict[str, Any]:
        """Write an item that failed for good; returns the letter."""
        return self._open().write(
            job=self._id,
            operator=node.name,
            uid=node.uid,
            item_id=item_id,
            item=item,
            error=error,
            attempts=attempts,
        )

    def rewind(self, ids: Mapping[str, set[str]]) -> None:
        """The run goes on from a checkpoint: forget the letters that were written after it.

        Args:
            ids: uid -> items that were dead letters of the step then. Letters of items without an
                id (with ``lineage`` switched off) stay.
        """
        self._open().rewind(
            lambda letter: (
                letter["item_id"] in ids.get(letter["uid"], ()) or letter["item_id"] is None
            )
        )

    def recent(self) -> list[dict[str, Any]]:
        """The last letters, oldest first."""
        return [] if self._letters is None else self._letters.recent()

    @property
    def path(self) -> str | None:
        """The file, once there is one."""
        path = None if self._letters is None else self._letters.path
        return str(path) if path is not None and path.exists() else None

    def close(self) -> None:
        """Close the file."""
        if self._letters is not None:
            self._letters.close()

    def _open(self) -> DeadLetters:
        with self._lock:
            if self._letters is None:
                from pathlib import Path  # noqa: PLC0415 - only when something failed

                from sage.kernel.runtime.deadletter import DeadLetters  # noqa: PLC0415 - as above

                folder = self._config.get("dead_letter_dir")
                if folder is None:
                    from sage.common.paths import state_dir  # noqa: PLC0415 - as above

                    folder = state_dir() / "dead_letters"
                safe = re.sub(r"[^\w.-]+", "_", self._name)[:80] or "job"
                self._letters = DeadLetters(Path(folder) / f"{safe}-{self._id}.jsonl")
            return self._letters
