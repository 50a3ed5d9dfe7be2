"""Where a local job keeps its dead letters: ``dead_letter_dir``, or SAGE's state folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.kernel.runtime.deadletter import DeadLetters


def open_dead_letters(config: Mapping[str, Any], job_name: str, job_id: str) -> DeadLetters:
    """The dead letters of a job: ``<dir>/<name>-<id>.jsonl``."""
    folder = config.get("dead_letter_dir")
    if folder is None:
        from sage.common import paths  # noqa: PLC0415 - platformdirs, only when something failed

        folder = paths.state_dir() / "dead_letters"
    safe = re.sub(r"[^\w.-]+", "_", job_name)[:80] or "job"
    return DeadLetters(Path(folder) / f"{safe}-{job_id}.jsonl")
