"""Checks of the options every step takes, with messages for the person who wrote the step.

Predecessor: keyword arguments of the fluent API, or the ``options`` of a spec file; successor:
``StepOptions``, in which ``retry`` is a ``RetryPolicy`` and ``on_error`` a word or a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sage.api.retry import RetryPolicy
from sage.common.errors import GraphError
from sage.kernel.graph.model import STEP_OPTIONS, FunctionSpec, StepOptions

ON_ERROR_WORDS = ("fail", "skip", "dead_letter")
EXECUTORS = ("thread", "process")
CACHES = ("run", "shared", "off")


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when a known word is near, else an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for messages

    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def make_options(step: str, given: Mapping[str, Any]) -> StepOptions:
    """Check and normalise the options of a step.

    Args:
        step: Name of the step, for messages.
        given: Option name → value; ``on_error`` may already be a ``FunctionSpec``.

    Raises:
        GraphError: An option is unknown or its value is not allowed.
    """
    for key in given:
        if key not in STEP_OPTIONS:
            raise GraphError(
                f"step {step!r}: unknown option {key!r}{suggest(key, STEP_OPTIONS)} "
                f"(options: {', '.join(sorted(STEP_OPTIONS))})",
                step=step,
                option=key,
            )
    try:
        values = {**given, "retry": RetryPolicy.of(given.get("retry"))}
    except GraphError as exc:
        raise GraphError(f"step {step!r}: {exc}", step=step, option="retry") from exc
    if values.get("executor") is None:
        values.pop("executor", None)
    if values.get("on_error") is None:
        values.pop("on_error", None)
    options = StepOptions(**values)
    problems = option_problems(options)
    if problems:
        raise GraphError(f"step {step!r}: {'; '.join(problems)}", step=step)
    return options


def option_problems(options: StepOptions) -> list[str]:
    """Everything that is wrong with the values, one sentence each."""
    found: list[str] = []
    for name in ("parallelism", "concurrency", "batch_size"):
        value = getattr(options, name)
        if value is not None and (not _is_int(value) or value < 1):
            found.append(f"{name} must be an int >= 1, got {value!r}")
    if options.timeout is not None and (not _is_number(options.timeout) or options.timeout <= 0):
        found.append(f"timeout must be a number of seconds > 0, got {options.timeout!r}")
    for name in ("linger", "num_cpus", "num_gpus"):
        value = getattr(options, name)
        if value is not None and (not _is_number(value) or value < 0):
            unit = "a number of seconds" if name == "linger" else "a number"
            found.append(f"{name} must be {unit} >= 0, got {value!r}")
    for name in ("ordered", "effect"):
        value = getattr(options, name)
        if value is not None and not isinstance(value, bool):
            found.append(f"{name} must be True or False, got {value!r}")
    for name in ("name", "uid"):
        value = getattr(options, name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            found.append(f"{name} must be a non-empty string, got {value!r}")
    if options.executor not in EXECUTORS:
        hint = suggest(str(options.executor), EXECUTORS)
        found.append(f"executor must be 'thread' or 'process', got {options.executor!r}{hint}")
    if options.cache is not None and options.cache not in CACHES:
        hint = suggest(str(options.cache), CACHES)
        found.append(f"cache must be 'run', 'shared' or 'off', got {options.cache!r}{hint}")
    if options.on_error not in ON_ERROR_WORDS and not isinstance(options.on_error, FunctionSpec):
        hint = suggest(str(options.on_error), ON_ERROR_WORDS)
        found.append(
            "on_error must be 'fail', 'skip', 'dead_letter' or a step to fall back to, "
            f"got {options.on_error!r}{hint}"
        )
    if options.retry is not None and not isinstance(options.retry, RetryPolicy):
        found.append(f"retry must be an int, a mapping or a RetryPolicy, got {options.retry!r}")
    return found


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
