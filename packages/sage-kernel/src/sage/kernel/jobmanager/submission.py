"""What a client submits, as a value, and what of it the daemon can check without running it.

Predecessor: ``POST /v1/jobs``; successors: ``submission.json`` in the job's folder, and the runner.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from sage.common.config import structure_config
from sage.common.errors import ConfigError, GraphError
from sage.common.plugins import find_operator_entry
from sage.kernel.graph.operations import module_allowed

SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""How the names of variables end whose values are masked."""

KINDS = ("spec", "program", "graph")
ACTIONS = ("run", "restore", "replay", "fork", "requeue")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 200
_MOST_PRIORITY = 1_000_000


def versions() -> dict[str, str]:
    """Versions that a client and its daemon must share to exchange code."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "sage": version("isage-kernel"),
    }


@attrs.frozen(kw_only=True)
class Submission:
    """A job to be run.

    Attributes:
        kind: ``spec``, ``program`` or ``graph``.
        name: Shown name.
        spec, allow: The pipeline, and modules its ``module:Class`` steps may come from.
        bundle: Digest of the archive of a program or graph.
        entry: Name of the script in the archive.
        arguments: Arguments of the script.
        settings: Settings of the engine over those of the pipeline.
        working_dir: Absolute folder that relative paths are meant from; ``None``: the job's own.
        environment: Environment variables for the process.
        priority: Higher starts first among waiting jobs.
        python, sage: Versions of the client, for code.
        action: What is done with it.
        parent: The job that a restore, replay, fork or requeue is about.
        savepoint, allow_dropped: For ``restore``, see ``FaultTolerance``.
        from_operator, changes, where: For ``fork``.
        inherited: Configurations that forks changed on the way from the code to ``parent``, by
            step, the first fork first.
        items: For ``requeue``: item ids; empty for all.
    """

    kind: str = attrs.field(validator=attrs.validators.in_(KINDS))
    name: str
    spec: Mapping[str, Any] | None = None
    allow: tuple[str, ...] = ()
    bundle: str | None = None
    entry: str | None = None
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    working_dir: str | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict)
    priority: int = attrs.field(
        default=0,
        validator=(
            attrs.validators.ge(-_MOST_PRIORITY),
            attrs.validators.le(_MOST_PRIORITY),
        ),
    )
    python: str | None = None
    sage: str | None = None
    action: str = attrs.field(default="run", validator=attrs.validators.in_(ACTIONS))
    parent: str | None = None
    savepoint: str | None = None
    allow_dropped: bool = False
    from_operator: str | None = None
    changes: Mapping[str, Any] = attrs.field(factory=dict)
    where: str | None = None
    inherited: tuple[Mapping[str, Mapping[str, Any]], ...] = ()
    items: tuple[str, ...] = ()


def steps_changed(given: Submission) -> dict[str, dict[str, Any]]:
    """The changes of a fork by step, as ``{"step": {"key": value}}``; there is one step at most.

    Raises:
        ConfigError: They change several steps, or another than it starts from.
    """
    found: dict[str, dict[str, Any]] = {}
    first = given.from_operator
    for key, value in given.changes.items():
        if first is not None and key.startswith(f"{first}."):
            step, inner = first, key.removeprefix(f"{first}.")
        else:
            step, _, inner = key.partition(".")
        if not inner and not isinstance(value, Mapping):
            raise ConfigError(f"a fork changes a key of a step: STEP.KEY, got {key!r}")
        found.setdefault(step, {}).update({inner: value} if inner else value)
    if len(found.keys() | ({first} if first is not None else set())) > 1:
        raise ConfigError(
            f"a fork changes the configuration of the one step it starts from, got "
            f"{', '.join(sorted(given.changes))}"
        )
    return found


def read_submission(raw: Any) -> Submission:
    """A submission from JSON.

    Raises:
        ConfigError: A key is unknown or missing, or a value is wrong; names the key.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"a submission is a JSON object, got {type(raw).__name__}")
    made = structure_config(raw, Submission, name="submission")
    _check_shape(made)
    return made


def _check_shape(given: Submission) -> None:
    problems = []
    if not given.name.strip() or len(given.name) > _LONGEST or not given.name.isprintable():
        problems.append(f"name must be 1 to {_LONGEST} printable characters, got {given.name!r}")
    if (given.spec is None) == (given.kind == "spec"):
        problems.append("spec is for the kind 'spec', which needs it")
    if (given.bundle is None) == (given.kind != "spec"):
        problems.append("bundle is for the kinds 'program' and 'graph', which need it")
    if (given.entry is None) == (given.kind == "program"):
        problems.append("entry is for the kind 'program', which needs it")
    if given.entry is not None and _leaves(given.entry):
        problems.append(f"entry must be the name of a file in the archive, got {given.entry!r}")
    if given.arguments and given.kind != "program":
        problems.append("arguments are for the kind 'program'")
    if (given.parent is None) == (given.action != "run"):
        problems.append(f"parent is for the actions {', '.join(ACTIONS[1:])}, which need it")
    for variable, value in given.environment.items():
        if _VARIABLE.fullmatch(variable) is None or not _passable(value):
            problems.append(f"environment: {variable!r} is no variable that a process can have")
    if given.working_dir is not None and not Path(given.working_dir).is_dir():
        problems.append(f"working_dir: there is no folder {given.working_dir!r} here")
    elif given.working_dir is not None and not Path(given.working_dir).is_absolute():
        problems.append(f"working_dir must be absolute, got {given.working_dir!r}")
    if problems:
        raise ConfigError(f"submission: {'; '.join(problems)}")


def _passable(value: str) -> bool:
    """Whether the system takes it for a variable of a process."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def check_environment(given: Submission) -> None:
    """Refuse variables that could bring code into the process, where code is not taken.

    Raises:
        ConfigError: Names the variable.
    """
    for variable in given.environment:
        if not variable.upper().endswith(SECRET_NAMES):
            raise ConfigError(
                f"environment: {variable!r} is refused by this JobManager: without "
                f"jobmanager.allow_code it takes credentials only (…{', …'.join(SECRET_NAMES)})"
            )


def check_versions(given: Submission) -> None:
    """Refuse code of another Python or SAGE.

    Raises:
        ConfigError: They differ; says both.
    """
    if given.kind == "spec":
        return
    ours = versions()
    for what, theirs in (("Python", given.python), ("SAGE", given.sage)):
        mine = ours[what.lower()]
        if theirs != mine:
            raise ConfigError(
                f"the code was sent from {what} {theirs or '(not said)'}, and the JobManager runs "
                f"{what} {mine}; submit from an environment of the same version, or send a "
                "pipeline file (GraphSpec), which needs no common version"
            )


def check_spec(spec: Mapping[str, Any], allow: Iterable[str]) -> None:
    """Refuse a pipeline that names code that is neither registered nor allowed. Imports nothing.

    Raises:
        GraphError: Names the step and the operator.
        PluginError: No such operator is registered.
    """
    allowed = list(allow)
    steps = spec.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        raise GraphError("spec: steps must be a list of mappings")
    services = spec.get("services") or {}
    if not isinstance(services, Mapping):
        raise GraphError("spec: services must be a mapping")
    for place, name in _operators([steps, list(services.values())]):
        if name.startswith("builtin:"):
            continue
        if ":" not in name:
            find_operator_entry(name)
            continue
        module = name.partition(":")[0]
        if not module_allowed(module, allowed):
            raise GraphError(
                f"spec: {place}: {name!r} is not allowed: only registered operators and modules of "
                f"the allowlist are loaded (allowed: {', '.join(allowed) or 'none'}); submit with "
                f"--allow {module}",
                operator=name,
            )


def _operators(value: Any, place: str = "steps") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        here = str(value.get("id", place))
        if isinstance(value.get("op"), str):
            yield here, value["op"]
        for key in ("ops", "options", "until", "predicates", "on_error"):
            yield from _operators(value.get(key), here)
    elif isinstance(value, list):
        for each in value:
            yield from _operators(each, place)


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not name
