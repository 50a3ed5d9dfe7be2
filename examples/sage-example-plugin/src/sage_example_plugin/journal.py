"""A listener that writes one line of JSON for every job that starts or ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sage.common.hooks import hookimpl


class JobJournal:
    """Appends to the file that ``SAGE_EXAMPLE_JOURNAL`` names; without it, does nothing."""

    @hookimpl
    def job_submitted(self, job_id: str, name: str) -> None:
        """Note that a job has started."""
        self._write({"event": "submitted", "job": job_id, "name": name})

    @hookimpl
    def job_finished(self, job_id: str, name: str, status: str) -> None:
        """Note how a job has ended."""
        self._write({"event": "finished", "job": job_id, "name": name, "status": status})

    def _write(self, line: dict[str, Any]) -> None:
        journal = os.environ.get("SAGE_EXAMPLE_JOURNAL")
        if journal:
            with Path(journal).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
