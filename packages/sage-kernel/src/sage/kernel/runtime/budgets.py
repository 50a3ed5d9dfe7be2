"""The limits and the budget of a job, from its configuration and from its ledger.

Predecessor: ``sage.kernel.runtime.local.submit``; successor: ``sage.kernel.scheduling``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sage.kernel.graph.model import StreamGraph
from sage.kernel.ledger.prices import PriceTable
from sage.kernel.scheduling.budget import Spend
from sage.kernel.scheduling.settings import apply_limits, make_budget

if TYPE_CHECKING:
    from sage.kernel.ledger.run import RunLedger
    from sage.kernel.runtime.durable import Durable
    from sage.kernel.runtime.job import Job

_PAID = (
    "SELECT cost, input_tokens, output_tokens FROM calls JOIN steps ON steps.id = calls.step "
    "WHERE steps.run = ? AND source IS NULL AND kind IN ('model', 'embedding', 'rerank') "
    "AND (output IS NOT NULL OR input_tokens IS NOT NULL)"  # not those that were never sent
)


def make_scheduling(job: Job, graph: StreamGraph, durable: Durable | None) -> None:
    """Take over the limits of the configuration, and give the job its budget.

    A run that goes on has spent what its ledger says.
    """
    apply_limits(graph.config)
    prices = PriceTable.load(None if durable is None else durable.settings.prices)
    budget = make_budget(graph.config, job.budget_exhausted, prices.cost)
    if budget is not None and job.recording is not None:
        for spend in spent_before(job.recording.ledger):
            budget.spend(spend)
    job.owner.budget = budget


def spent_before(ledger: RunLedger) -> list[Spend]:
    """What the recorded calls of a run cost."""
    ledger.store.drain()
    return [
        Spend(money=None if cost is None else Decimal(cost), tokens=(into or 0) + (out or 0))
        for cost, into, out in ledger.store.query(_PAID, (ledger.id,))
    ]
