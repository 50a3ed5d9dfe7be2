from __future__ import annotations

import math
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sage.kernel.observe.prometheus import render


def job(name: str = "rag", **operators: Any) -> dict[str, Any]:
    return {
        "job": "id-1",
        "name": name,
        "status": "RUNNING",
        "seconds": 2.5,
        "operators": operators,
    }


def numbers(**more: Any) -> dict[str, Any]:
    return {
        "in": 10,
        "out": 9,
        "errors": 1,
        "lost": 1,
        "retries": 0,
        "dead_letters": 1,
        "queue": 3,
        "in_flight": 2,
        "busy": 0.25,
        "idle": 0.5,
        "backpressured": 0.25,
        "seconds": 0.004,
        "buckets": [1, 0, 2, 0, 4],
        **more,
    }


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def find(samples: dict[Any, float], metric: str, /, **labels: str) -> float:
    (value,) = [
        value
        for (found, pairs), value in samples.items()
        if found == metric and labels.items() <= dict(pairs).items()
    ]
    return value


def test_the_reference_parser_reads_every_number():
    samples = parse(render(job(clean=numbers(), sink=numbers(queue=0, counters={"tokens": 7.5}))))
    where = {"job": "rag", "job_id": "id-1", "operator": "clean"}
    assert find(samples, "sage_records_in_total", **where) == 10
    assert find(samples, "sage_records_out_total", **where) == 9
    assert find(samples, "sage_errors_total", reason="raised", **where) == 1
    assert find(samples, "sage_dead_letters_total", **where) == 1
    assert find(samples, "sage_queue_items", **where) == 3
    assert find(samples, "sage_inflight_calls", **where) == 2
    assert find(samples, "sage_busy_ratio", **where) == 0.25
    assert find(samples, "sage_processing_seconds_count", **where) == 7
    assert find(samples, "sage_processing_seconds_sum", **where) == 0.004
    assert find(samples, "sage_processing_seconds_bucket", le="4e-06", **where) == 3
    assert find(samples, "sage_processing_seconds_bucket", le="+Inf", **where) == 7
    assert find(samples, "sage_custom", name="tokens", operator="sink") == 7.5
    assert find(samples, "sage_job_info", status="RUNNING") == 1
    assert find(samples, "sage_job_duration_seconds") == 2.5


def test_hostile_names_stay_inside_their_label():
    name = 'a"b\\c\nsage_fake 1'
    samples = parse(render(job(name, **{name: numbers()})))
    assert find(samples, "sage_records_in_total", operator=name, job=name) == 10
    assert not any(found == "sage_fake" for found, _ in samples)


def test_several_jobs_share_each_family():
    text = render(job("one", a=numbers()), job("two", a=numbers(errors={"timeout": 2, "skip": 1})))
    samples = parse(text)
    assert text.count("# TYPE sage_records_in counter") == 1
    assert find(samples, "sage_records_in_total", job="two") == 10
    assert find(samples, "sage_errors_total", job="two", reason="timeout") == 2


def test_no_jobs_and_absent_or_odd_numbers_are_valid():
    assert parse(render()) == {}
    samples = parse(render({"operators": {"a": {"busy": math.nan, "queue": math.inf}}}))
    assert math.isnan(find(samples, "sage_busy_ratio"))
    assert find(samples, "sage_queue_items") == math.inf
