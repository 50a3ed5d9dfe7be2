"""The budget of a running job: calls are admitted in order; when nothing is left, the job pauses.

Predecessor: ``sage.kernel.scheduling.budget``; successors: ``sage.kernel.runtime.job``, which owns
it, and the callers of ``admit``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sage.common.errors import ConfigError, JobError
from sage.common.paths import config_dir
from sage.kernel.scheduling.budget import Account, Budget, Spend
from sage.kernel.scheduling.waiting import Turn

NOTHING = Spend(money=Decimal(0), tokens=0, calls=0)


class BudgetError(JobError):
    """A call could not be made because the job ends and its budget is spent."""


class Admission(Turn):
    """A call's place before the budget. Wait for it, then ``settle`` or ``withdraw``."""

    def __init__(self, budget: JobBudget, estimate: Spend) -> None:
        super().__init__()
        self._budget = budget
        self._estimate = estimate
        self._state = "waiting"

    def _ready(self) -> float | None:
        return self._budget._try(self)

    def settle(self, actual: Spend) -> None:
        """The call has ended and cost so much."""
        self._budget._settle(self, actual)

    def withdraw(self) -> None:
        """The call was not made, or cost nothing."""
        self._budget._settle(self, NOTHING)


class JobBudget:
    """Admits the calls of one job.

    Args:
        budget: The bound.
        exhausted: Called with the facts when the next call does not fit and none is in flight that
            could still turn out cheaper; from the thread of that call.
        price: ``(provider, model, usage, own prices) -> money``, ``None`` where it is not known;
            see ``sage.kernel.ledger.prices.PriceTable.cost``.

    Attributes:
        price: As given.
    """

    def __init__(
        self,
        budget: Budget,
        exhausted: Callable[[dict[str, Any]], object],
        price: Callable[..., Decimal | None],
    ) -> None:
        self.price = price
        self._account = Account(budget)
        self._exhausted = exhausted
        self._lock = threading.Lock()
        self._queue: deque[Admission] = deque()
        self._told = False
        self._over = False

    def admit(self, estimate: Spend, model: str, provider: str) -> Admission:
        """Take a place for a call: ``await`` it, or ``wait()`` in a thread, then ``settle``.

        Args:
            estimate: What it is expected to cost.
            model, provider: Who is asked, for errors.

        Raises:
            ConfigError: Money is bounded and the price of the call is not known.
        """
        if estimate.money is None and self._account.budget.money is not None:
            raise ConfigError(
                f"the job has a budget in money, but the price of the model {model!r} at "
                f"{provider} is not known: give it in prices of the step or in "
                f"{config_dir() / 'prices.yaml'}, or bound tokens or calls instead"
            )
        admission = Admission(self, estimate)
        with self._lock:
            self._queue.append(admission)
        return admission

    def spend(self, actual: Spend) -> None:
        """Book what was spent before, by an earlier process of the same run."""
        with self._lock:
            self._account.spend(actual)

    def set_budget(self, budget: Budget) -> None:
        """Take over another bound, before ``go_on``."""
        with self._lock:
            self._account.budget = budget

    def go_on(self) -> None:
        """The job was resumed: calls that wait go on if they fit."""
        with self._lock:
            self._told = False
        self._wake_first()

    def stop(self) -> None:
        """The job fails: calls that wait for a budget nobody will raise end with an error."""
        with self._lock:
            self._over = True
            waiting = list(self._queue)
        for admission in waiting:
            admission.wake()

    def restart(self) -> None:
        """The job starts again after ``stop``."""
        with self._lock:
            self._over = self._told = False

    def facts(self) -> dict[str, Any]:
        """Spent, limit and number of calls that wait."""
        with self._lock:
            return {**self._account.facts(), "waiting": len(self._queue)}

    # ------------------------------------------------------------------ for the admissions

    def _try(self, admission: Admission) -> float | None:
        facts: dict[str, Any] | None = None
        with self._lock:
            if admission._state != "waiting":
                return 0.0
            if self._over:
                raise BudgetError(
                    "the budget is spent and the job ends, so this call was not made: see why the "
                    "job ends, and submit it again with a larger budget"
                )
            if self._queue[0] is not admission:
                return None
            lacking = self._account.lacking(admission._estimate)
            if not lacking:
                admission._state = "admitted"
                self._account.hold(admission._estimate)
                del self._queue[0]
            elif self._told or self._account.open:
                return None
            else:
                self._told = True
                facts = {**self._account.facts(), "exhausted": lacking, "waiting": len(self._queue)}
        if facts is not None:
            self._exhausted(facts)
            return None
        self._wake_first()
        return 0.0

    def _settle(self, admission: Admission, actual: Spend) -> None:
        with self._lock:
            if admission._state == "waiting":
                self._queue.remove(admission)
            elif admission._state == "admitted":
                self._account.settle(admission._estimate, actual)
            admission._state = "done"
        self._wake_first()

    def _wake_first(self) -> None:
        with self._lock:
            first = self._queue[0] if self._queue else None
        if first is not None:
            first.wake()
