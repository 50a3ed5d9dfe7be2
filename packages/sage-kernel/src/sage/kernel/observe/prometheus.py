"""Job metrics as OpenMetrics text, for ``/metrics`` and ``job.prometheus()``.

Source: OpenMetrics 1.0 (exposition format); names after the Prometheus conventions: base units,
counters end in ``_total``, labels are ``job`` (name of the environment), ``job_id`` and
``operator``, never an item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_COUNTERS: Final = (
    ("records_in", "in", "Items that a step took in."),
    ("records_out", "out", "Items that a step put out."),
    ("records_lost", "lost", "Items that ended at a step because it failed on them."),
    ("retries", "retries", "Calls of a step after the first for an item."),
    ("fallbacks", "fallbacks", "Items that a step's fallback handled."),
    ("dead_letters", "dead_letters", "Items that were written to the dead letters."),
)
_GAUGES: Final = (
    ("queue_items", "queue", "Items that wait in front of a step."),
    ("queue_bytes", "queue_bytes", "Bytes of the items that wait in front of a step."),
    ("inflight_calls", "in_flight", "Calls of a step in progress."),
    ("busy_ratio", "busy", "Share of time in which a step worked."),
    ("idle_ratio", "idle", "Share of time in which a step waited for items."),
    ("backpressured_ratio", "backpressured", "Share of time in which a step could not put out."),
)


def render(*jobs: Mapping[str, Any]) -> str:
    """Text for one or several jobs.

    Args:
        *jobs: What ``job.metrics()`` returns: ``job`` (id), ``name``, ``status``, ``seconds`` and
            ``operators``, name -> numbers. ``errors`` of an operator is a number or a mapping from
            reason to number; bucket ``i`` of ``buckets`` counts the sampled calls that took less
            than ``2**i`` microseconds, the last one all others, ``seconds`` is their sum. Absent
            numbers are left out.
    """
    lines: list[str] = []
    _family(lines, "job_info", "info", "Jobs and their state.")
    for job in jobs:
        labels = _labels([*_job_labels(job), ("status", job.get("status", ""))])
        lines.append(f"sage_job_info{labels} 1")
    _family(lines, "job_duration_seconds", "gauge", "Seconds since a job began, to its end.")
    for job in jobs:
        if job.get("seconds") is not None:
            labels = _labels(_job_labels(job))
            lines.append(f"sage_job_duration_seconds{labels} {_number(job['seconds'])}")
    steps = [
        ([*_job_labels(job), ("operator", name)], numbers)
        for job in jobs
        for name, numbers in job.get("operators", {}).items()
    ]
    for name, key, text in _COUNTERS:
        _simple(lines, name, "counter", "_total", key, text, steps)
    _errors(lines, steps)
    for name, key, text in _GAUGES:
        _simple(lines, name, "gauge", "", key, text, steps)
    _histograms(lines, steps)
    _custom(lines, steps)
    _limits(lines, jobs)
    lines.append("# EOF\n")
    return "\n".join(lines)


_LIMITS: Final = (
    ("ratelimit_calls", "calls", "counter", "Calls that started."),
    ("ratelimit_tokens", "tokens", "counter", "Tokens of answered calls."),
    ("ratelimit_throttled", "throttled", "counter", "Calls that the server refused with 429."),
    ("ratelimit_wait_seconds", "wait_seconds", "counter", "Seconds that calls waited."),
    ("ratelimit_waiting", "waiting", "gauge", "Calls that wait now."),
    ("ratelimit_requests_per_minute", "rpm", "gauge", "The limit of requests in use."),
    ("ratelimit_tokens_per_minute", "tpm", "gauge", "The limit of tokens in use."),
)


Steps = list[tuple[list[tuple[str, str]], Mapping[str, Any]]]


def _job_labels(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("job", str(job.get("name", ""))), ("job_id", str(job.get("job", "")))]


def _family(lines: list[str], name: str, kind: str, text: str, unit: str = "") -> None:
    # The name of an info family has no suffix; its sample ends in _info.
    shown = name.removesuffix("_info") if kind == "info" else name
    lines.append(f"# TYPE sage_{shown} {kind}")
    if unit:
        lines.append(f"# UNIT sage_{shown} {unit}")
    lines.append(f"# HELP sage_{shown} {_escape(text)}")


def _simple(
    lines: list[str], name: str, kind: str, suffix: str, key: str, text: str, steps: Steps
) -> None:
    samples = [(labels, numbers[key]) for labels, numbers in steps if numbers.get(key) is not None]
    if samples:
        _family(lines, name, kind, text)
        lines += [f"sage_{name}{suffix}{_labels(labels)} {_number(n)}" for labels, n in samples]


def _errors(lines: list[str], steps: Steps) -> None:
    samples: list[str] = []
    for labels, numbers in steps:
        errors = numbers.get("errors")
        if errors is None:
            continue
        reasons = errors if isinstance(errors, Mapping) else {"raised": errors}
        samples += [
            f"sage_errors_total{_labels([*labels, ('reason', str(reason))])} {_number(n)}"
            for reason, n in reasons.items()
        ]
    if samples:
        _family(lines, "errors", "counter", "Calls of a step that failed, each attempt.")
        lines += samples


def _histograms(lines: list[str], steps: Steps) -> None:
    timed = [(labels, numbers) for labels, numbers in steps if numbers.get("buckets")]
    if not timed:
        return
    name = "processing_seconds"
    _family(lines, name, "histogram", "Sampled time of one call of a step.", "seconds")
    for labels, numbers in timed:
        counts: list[int] = list(numbers["buckets"])
        total = 0
        for i, count in enumerate(counts[:-1]):
            total += count
            bound = _labels([*labels, ("le", repr(2.0**i / 1e6))])
            lines.append(f"sage_{name}_bucket{bound} {total}")
        total += counts[-1]
        infinite = _labels([*labels, ("le", "+Inf")])
        lines.append(f"sage_{name}_bucket{infinite} {total}")
        lines.append(f"sage_{name}_count{_labels(labels)} {total}")
        lines.append(f"sage_{name}_sum{_labels(labels)} {_number(numbers.get('seconds', 0.0))}")


def _custom(lines: list[str], steps: Steps) -> None:
    """Counters of ``ctx.count(name)``; a gauge, as a step may count down too."""
    samples = [
        f"sage_custom{_labels([*labels, ('name', str(name))])} {_number(n)}"
        for labels, numbers in steps
        for name, n in (numbers.get("counters") or {}).items()
    ]
    if samples:
        _family(lines, "custom", "gauge", "Counters of the steps' own, by ctx.count(name).")
        lines += samples


def _limits(lines: list[str], jobs: Iterable[Mapping[str, Any]]) -> None:
    """Rate limits belong to the process: each once, whatever the number of jobs."""
    limits = {
        (str(n["provider"]), str(n["model"]), str(n["key"])): n
        for job in jobs
        for n in (job.get("limits") or {}).values()
    }
    for name, key, kind, text in _LIMITS:
        samples = [(who, n[key]) for who, n in limits.items() if n.get(key) is not None]
        if not samples:
            continue
        _family(lines, name, kind, text, "seconds" if name.endswith("_seconds") else "")
        suffix = "_total" if kind == "counter" else ""
        for (provider, model, mark), number in samples:
            labels = _labels([("provider", provider), ("model", model), ("key", mark)])
            lines.append(f"sage_{name}{suffix}{labels} {_number(number)}")


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return repr(float(value))
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
