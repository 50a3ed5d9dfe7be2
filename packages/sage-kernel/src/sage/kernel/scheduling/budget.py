"""What a job may spend, and whether a call still fits. Values and decisions, no waiting.

Predecessor: ``sage.kernel.graph.settings``; successor: ``sage.kernel.scheduling.job_budget``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from sage.common.errors import ConfigError


@attrs.frozen(kw_only=True)
class Budget:
    """The most that a run may spend; ``None``: no bound.

    Attributes:
        money: USD, as in the table of prices.
        tokens: Input and output tokens.
        calls: Calls that were made; answers from the ledger are none.
    """

    money: Decimal | None = None
    tokens: int | None = None
    calls: int | None = None


@attrs.frozen(kw_only=True)
class Spend:
    """What calls cost, or are expected to.

    Attributes:
        money: USD; ``None``: not known, which is not zero.
        tokens: ``None``: not known.
        calls: Number of calls.
    """

    money: Decimal | None = None
    tokens: int | None = None
    calls: int = 1


def read_budget(given: Any, where: str = "budget") -> Budget:
    """A budget from a setting: a mapping with the fields of ``Budget``.

    Raises:
        ConfigError: Names the key that is unknown or wrong.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{where} must be a mapping such as {{'money': '5.00', 'tokens': 1000000}}, "
            f"got {given!r}"
        )
    unknown = set(given) - {"money", "tokens", "calls"}
    if unknown:
        raise ConfigError(
            f"{where}: unknown key {min(map(str, unknown))!r}; expected money (USD, as in the "
            "table of prices), tokens, calls"
        )
    for name in ("tokens", "calls"):
        value = given.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise ConfigError(f"{where}.{name}: must be an int, got {value!r}")
        if value is not None and value < 0:
            raise ConfigError(f"{where}.{name}: must be >= 0, got {value!r}")
    return Budget(
        money=_money(given.get("money"), where),
        tokens=given.get("tokens"),
        calls=given.get("calls"),
    )


def _money(value: Any, where: str) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise InvalidOperation
        money = Decimal(str(value))  # 0.1 as it is written, not as it is stored
    except InvalidOperation:
        raise ConfigError(
            f"{where}.money: must be an amount such as '5.00', got {value!r}"
        ) from None
    if not money.is_finite() or money < 0:
        raise ConfigError(f"{where}.money: must be an amount >= 0, got {value!r}")
    return money


class Account:
    """What was spent of a budget, and what is held for calls in flight.

    Attributes:
        budget: The bound.
        money, tokens, calls: Spent; money in USD.
        open: Calls in flight.
        unpriced: Calls whose cost is not known; they are missing in ``money``.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.money = Decimal(0)
        self.tokens = 0
        self.calls = 0
        self.unpriced = 0
        self.open = 0
        self._money = Decimal(0)
        self._tokens = 0
        self._calls = 0

    def lacking(self, estimate: Spend) -> list[str]:
        """The bounds that a call of this estimate would break; empty: it fits."""
        budget = self.budget
        return [
            name
            for name, bound, after in (
                ("money", budget.money, self.money + self._money + (estimate.money or 0)),
                ("tokens", budget.tokens, self.tokens + self._tokens + (estimate.tokens or 0)),
                ("calls", budget.calls, self.calls + self._calls + estimate.calls),
            )
            if bound is not None and after > bound
        ]

    def hold(self, estimate: Spend) -> None:
        """Set an estimate aside for a call that starts."""
        self._add(estimate, 1)

    def settle(self, estimate: Spend, actual: Spend) -> None:
        """A call ended: what was set aside is free, what it cost is spent."""
        self._add(estimate, -1)
        self.spend(actual)

    def spend(self, actual: Spend) -> None:
        """Book what was spent."""
        if actual.money is None:
            self.unpriced += actual.calls
        self.money += actual.money or 0
        self.tokens += actual.tokens or 0
        self.calls += actual.calls

    def _add(self, estimate: Spend, sign: int) -> None:
        self.open += sign
        self._money += sign * (estimate.money or 0)
        self._tokens += sign * (estimate.tokens or 0)
        self._calls += sign * estimate.calls

    def facts(self) -> dict[str, Any]:
        """Spent and bounds, as plain values (money in USD, as text, exact)."""
        budget = self.budget
        return {
            "spent": {
                "money": str(self.money),
                "tokens": self.tokens,
                "calls": self.calls,
                "unpriced_calls": self.unpriced,
            },
            "limit": {
                "money": None if budget.money is None else str(budget.money),
                "tokens": budget.tokens,
                "calls": budget.calls,
            },
        }
