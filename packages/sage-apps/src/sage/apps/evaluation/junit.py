"""JUnit XML of a run, for continuous integration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from sage.apps.evaluation.summary import shown
from sage.apps.evaluation.thresholds import Threshold
from sage.lib.evaluate.aggregate import Summary

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(
    path: Path,
    *,
    name: str,
    totals: Mapping[str, Summary],
    thresholds: Sequence[Threshold],
    failures: Sequence[str],
    seconds: float,
) -> None:
    """Write one test per threshold, and one that every question was answered.

    Args:
        path: The file; its folder is made.
        name: Of the suite.
        totals: Become properties.
        thresholds: What was asked for.
        failures: One line per question that failed.
        seconds: Of the run.
    """
    checks = [(each, *each.check(totals)) for each in thresholds]
    failed = sum(not held for _, held, _ in checks) + bool(failures)
    suite = ET.Element(
        "testsuite",
        name=clean(name),
        tests=str(len(checks) + 1),
        failures=str(failed),
        errors="0",
        time=f"{seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for metric, total in totals.items():
        ET.SubElement(properties, "property", name=clean(metric), value=shown(total.mean))
    case = ET.SubElement(suite, "testcase", classname=clean(name), name="every question answered")
    if failures:
        failure = ET.SubElement(case, "failure", message=f"{len(failures)} questions failed")
        failure.text = clean("\n".join(failures))
    for each, held, value in checks:
        case = ET.SubElement(suite, "testcase", classname=clean(name), name=clean(each.text))
        if not held:
            found = "no score" if value is None else shown(value)
            message = f"{each.metric} {each.part} is {found}, expected {each.sign} {each.bound:g}"
            ET.SubElement(case, "failure", message=clean(message))
    root = ET.Element("testsuites")
    root.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def clean(text: str) -> str:
    """``text`` without characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
