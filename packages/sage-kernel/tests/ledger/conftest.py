from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.api.context import RuntimeContext
from sage.kernel.ledger.calls import StepCalls
from sage.kernel.ledger.run import RunLedger, open_run


class Step:
    """A step whose current record a test sets."""

    def __init__(self, run: RunLedger, uid: str = "step", *, version: str = "v", **options: Any):
        self.record: str | None = "source:0"
        self.ctx = RuntimeContext(
            job_id=run.id,
            job_name=run.name,
            operator=uid,
            uid=uid,
            record_id=lambda: self.record,
        )
        self.calls = StepCalls(run, self.ctx, version=version, **options)
        self.ctx._calls = self.calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def open_(path: Path) -> Iterator[Callable[..., RunLedger]]:
    opened: list[RunLedger] = []

    def make(run: str = "run-1", **options: Any) -> RunLedger:
        ledger = open_run(path, run, name="test", durability="process", **options)
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def make_step() -> type[Step]:
    return Step
