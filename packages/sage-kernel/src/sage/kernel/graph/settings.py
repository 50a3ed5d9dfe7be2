"""The configuration keys of an environment, in one table.

Predecessor: ``LocalEnvironment(name, config)`` and the ``config`` of a spec file; successor: the
compiler and the runtime, which read ``graph.config``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.graph.options import suggest


class Setting:
    """One configuration key. A plain class: to make a named tuple costs 2 ms at import.

    Attributes:
        types: Accepted types.
        minimum: Smallest accepted number, or ``None``.
        meaning: One line with its unit and default.
    """

    __slots__ = ("meaning", "minimum", "types")

    def __init__(self, types: tuple[type, ...], minimum: float | None, meaning: str) -> None:
        self.types = types
        self.minimum = minimum
        self.meaning = meaning


SETTINGS: dict[str, Setting] = {
    "budget": Setting((dict,), None, "money (USD), tokens, calls a run may spend; default: any"),
    "channel_bytes": Setting((int,), 1, "bytes a channel holds before its producer waits"),
    "channel_capacity": Setting((int,), 1, "items a channel holds before its producer waits"),
    "dead_letter_dir": Setting((str,), None, "directory of the dead letter files (JSONL)"),
    "fault_tolerance": Setting(
        (dict, bool), None, "checkpoints, restarts and the call ledger; default: none"
    ),
    "fusion": Setting((bool,), None, "fuse chains of steps into one task; default true"),
    "inline": Setting((bool,), None, "inline simple lambdas into fused chains; default true"),
    "limits": Setting(
        (dict,), None, "requests (rpm) and tokens (tpm) per minute, by 'PROVIDER/MODEL'"
    ),
    "lineage": Setting((bool,), None, "derive record ids and show them in errors; default true"),
    "max_in_flight": Setting((int,), 1, "calls of an async step in flight by default"),
    "processes": Setting((int,), 1, "worker processes of executor='process'; default: all cores"),
}
"""Everything ``LocalEnvironment`` takes as configuration; anything else is a mistake."""


def check_settings(config: Mapping[str, Any] | None, owner: str) -> dict[str, Any]:
    """A checked copy of ``config``.

    Args:
        config: Key → value; ``None`` values mean "the default" and are left out.
        owner: Whose configuration it is, for messages.

    Raises:
        GraphError: A key is unknown or a value has another type; all problems are listed.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise GraphError(f"{owner}: config must be a mapping, got {config!r}")
    problems = []
    for key, value in config.items():
        setting = SETTINGS.get(key)
        if setting is None:
            problems.append(
                f"unknown config key {key!r}{suggest(str(key), SETTINGS)} "
                f"(known: {', '.join(SETTINGS)})"
            )
        elif value is not None:
            problem = _problem(key, value, setting)
            if problem:
                problems.append(problem)
    if problems:
        raise GraphError(f"{owner}: {'; '.join(problems)}")
    return {
        key: str(value) if hasattr(value, "__fspath__") else value
        for key, value in config.items()
        if value is not None
    }


def _problem(key: str, value: Any, setting: Setting) -> str | None:
    if str in setting.types and hasattr(value, "__fspath__"):
        return None
    wrong_bool = isinstance(value, bool) and bool not in setting.types
    if wrong_bool or not isinstance(value, setting.types):
        expected = " or ".join(kind.__name__ for kind in setting.types)
        return f"config key {key!r} must be {expected} ({setting.meaning}), got {value!r}"
    if isinstance(value, (int, float)) and value < (setting.minimum or 0):
        return f"config key {key!r} must be >= {setting.minimum}, got {value!r}"
    return None
