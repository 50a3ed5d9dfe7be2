"""Print the counts of a JUnit report as one line: ``N passed, N failed, N skipped``."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def closing_line(report: Path) -> str:
    """Return the line for ``report``; errors of set-up and tear-down count as failures."""
    total = failed = skipped = 0
    # The report was written by our own pytest a moment ago.
    for suite in ET.parse(report).iter("testsuite"):  # noqa: S314
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped"


if __name__ == "__main__":
    print(closing_line(Path(sys.argv[1])))
