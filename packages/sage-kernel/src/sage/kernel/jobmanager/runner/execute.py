"""Runs what was submitted: a spec, a program, or a graph by value."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from sage.api.local_environment import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.common.paths import within
from sage.kernel.jobmanager.bundle import GRAPH_FILE, unpack
from sage.kernel.jobmanager.layout import JobFolder
from sage.kernel.jobmanager.runner.host import Host
from sage.kernel.jobmanager.submission import Submission, check_versions


def execute(submission: Submission, folder: JobFolder, host: Host) -> None:
    """Run a submission to its end, in this thread.

    Raises:
        JobFailedError: A pipeline failed, or the program did.
        SageError: It is wrong in another way.
    """
    check_versions(submission)
    if submission.bundle is not None:
        unpack(folder.home.bundle(submission.bundle), submission.bundle, folder.code)
        sys.path.insert(0, str(folder.code))
    if submission.kind == "program":
        _run_program(within(folder.code, submission.entry or ""), submission)
    else:
        env = _environment(submission, folder)
        env.submit()
    host.wait()


def _environment(submission: Submission, folder: JobFolder) -> LocalEnvironment:
    if submission.kind == "spec":
        return LocalEnvironment.from_spec(
            submission.spec,
            allow=submission.allow,
            config=submission.settings,
            name=submission.name,
        )
    import cloudpickle  # noqa: PLC0415 - only graphs by value need it

    data = (folder.code / GRAPH_FILE).read_bytes()
    try:
        graph: Any = cloudpickle.loads(data)
    except Exception as exc:
        raise ConfigError(
            f"the pipeline that was sent by value cannot be loaded here: {type(exc).__name__}: "
            f"{exc}; a module it needs may be missing in the JobManager's environment"
        ) from exc
    env = LocalEnvironment(graph.name, {**graph.config, **submission.settings})
    graph.config = env.stream_graph.config
    env.stream_graph = graph
    return env


def _run_program(script: Path, submission: Submission) -> None:
    if not script.is_file():
        raise ConfigError(f"the archive has no file {submission.entry!r}")
    sys.argv = [str(script), *submission.arguments]
    if str(script.parent) != sys.path[0]:
        sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (None, 0):
            raise JobFailedError(
                f"the program {submission.entry!r} ended with {ended.code!r}"
            ) from ended
