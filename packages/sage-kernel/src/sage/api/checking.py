"""Check-only mode: a script builds its pipelines, and ``submit`` validates instead of running.

``SAGE_CHECK_ONLY`` turns it on; if its value is the path of a file, one JSON line per submitted
pipeline is appended there (``name, steps, problems``, and ``view``: what
``SAGE_CHECK_VIEW`` asks for, ``plan`` or ``mermaid``). ``submit`` returns a ``CheckedJob``; a
script that then waits for the job or asks for its result ends there with exit code 0, because
nothing ran and there is nothing to wait for. ``sage check app.py`` and ``sage explain app.py`` run
the script in a child process in this mode.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from sage.common.errors import GraphError

if TYPE_CHECKING:
    from sage.api.base_environment import BaseEnvironment


class CheckedJob:
    """Stands for a job that was checked and will not run."""

    id = "check-only"
    status = "CHECKED"

    def __init__(self, name: str, graph: dict[str, Any]) -> None:
        self.name = name
        self._graph = graph

    def done(self) -> bool:
        """Always true."""
        return True

    def graph(self) -> dict[str, Any]:
        """The logical graph."""
        return self._graph

    def wait(self, timeout: float | None = None) -> Never:
        """End the script: nothing runs."""
        raise SystemExit(0)

    def result(self, timeout: float | None = None) -> Never:
        """End the script: nothing runs, so there is no result."""
        raise SystemExit(0)

    def cancel(self, wait: bool = True) -> None:
        """Nothing runs."""

    def pause(self) -> None:
        """Nothing runs."""

    def resume(self) -> None:
        """Nothing runs."""

    def metrics(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def logs(self) -> list[Any]:
        """Empty."""
        return []

    def events(self) -> list[Any]:
        """Empty."""
        return []

    def __str__(self) -> str:
        return self.id


def check_job(env: BaseEnvironment, report: str) -> Any:
    """Validate the pipeline of ``env``, and write a line to the file ``report`` if it is a path.

    Raises:
        GraphError: The graph is not valid.
    """
    line: dict[str, Any] = {
        "name": env.name,
        "steps": len(env.stream_graph.nodes),
        "problems": [],
        "view": None,
    }
    try:
        env.check()
        view = os.environ.get("SAGE_CHECK_VIEW")
        if view:
            line["view"] = env.to_mermaid() if view == "mermaid" else env.explain()
    except GraphError as exc:
        line["problems"] = list(exc.data.get("problems", (str(exc),)))
        raise
    finally:
        if _is_path(report):
            with Path(report).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return CheckedJob(env.name, env.graph())


def _is_path(report: str) -> bool:
    return "/" in report or "\\" in report
