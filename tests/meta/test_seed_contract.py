"""``docs/seed-contract.md`` tells the truth: what is called working has a test that exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

STATES = {"works", "planned", "honest-note"}
CONTRACT = Path(__file__).resolve().parents[2] / "docs/seed-contract.md"


class Row(NamedTuple):
    line: int
    item: str
    state: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for number, line in enumerate(CONTRACT.read_text("utf-8").splitlines(), start=1):
        if not line.startswith("| ") or line.startswith("| item "):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        assert len(cells) == 3, f"line {number}: three cells expected: {line}"
        tests = tuple(re.findall(r"`([^`]+)`", cells[2]))
        found.append(Row(number, cells[0], cells[1], tests))
    return found


@functools.cache
def functions(path: Path) -> set[str]:
    """Names of the tests in a file: ``test_x`` and ``TestClass::test_x``."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            names.update(f"{node.name}::{n.name}" for n in inner)
    return names


def test_every_row_has_a_known_state_and_an_item_of_its_own() -> None:
    table = rows()
    assert len(table) > 200
    assert {row.state for row in table} <= STATES
    items = [row.item for row in table]
    assert sorted({item for item in items if items.count(item) > 1}) == []


def test_nothing_is_called_working_without_a_test() -> None:
    untested = [row for row in rows() if row.state != "planned" and not row.tests]
    assert untested == []


def test_what_is_planned_names_no_test() -> None:
    # A test that exists for a planned item means the table was not updated.
    assert [row for row in rows() if row.state == "planned" and row.tests] == []


def test_each_named_test_exists(root: Path) -> None:
    absent = []
    for row in rows():
        for test in row.tests:
            file, _, function = test.partition("::")
            name = re.sub(r"\[.*\]$", "", function)
            if not (root / file).is_file() or name not in functions(root / file):
                absent.append(f"line {row.line}: {test}")
    assert absent == []
