"""``LoadBalancer``: spreads items over routes, or over operators of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from sage.api.functions import MapFunction
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.memory.keys import metadata_of
from sage.lib.routing.balance import Balance
from sage.lib.routing.steps import InnerStep

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class LoadBalancer(MapFunction[Any, Any]):
    """One of several targets for each item.

    With ``targets`` it names a route, for ``stream.route(LoadBalancer, ...)``. With ``steps`` it
    runs the chosen operator itself and gives its result, for ``stream.map(LoadBalancer, ...)``;
    only then it knows what is in flight.

    Strategies: ``round_robin``; ``weighted`` (as often as the weights say, spread evenly);
    ``least_in_flight`` (relative to the weights; needs ``steps``); ``sticky`` (the same target for
    the same key, in every process). Each subtask balances for itself. Items per target are counted
    in the metrics as ``to_NAME``.

    Example:
        >>> routed = stream.route(LoadBalancer, {"targets": ["a", "b"], "weights": [2, 1]})
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            targets: Names of routes.
            steps: Operators: registered names, classes, functions, or mappings with ``operator``,
                ``config`` and ``name``.
            strategy: ``round_robin``, ``weighted``, ``least_in_flight`` or ``sticky``; default:
                ``weighted`` if there are weights, else ``round_robin``.
            weights: Shares of the targets, above 0; default: equal.
            key: For ``sticky``: a metadata field (or field of a mapping), or a function from the
                item to its key; default: the key of ``key_by``.
        """

        targets: list[str] = attrs.field(factory=list)
        steps: list[Any] = attrs.field(factory=list)
        strategy: Literal["round_robin", "weighted", "least_in_flight", "sticky"] | None = None
        weights: list[float] | None = None
        key: Any = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        if bool(settings.targets) == bool(settings.steps):
            raise ConfigError("LoadBalancer: give either targets (routes) or steps (operators)")
        count = len(settings.targets or settings.steps)
        weights = settings.weights or [1.0] * count
        if len(weights) != count or min(weights) <= 0:
            raise ConfigError(
                f"LoadBalancer: weights must be {count} numbers above 0, got {settings.weights}"
            )
        self._strategy = settings.strategy or ("weighted" if settings.weights else "round_robin")
        if self._strategy == "least_in_flight" and settings.targets:
            raise ConfigError(
                "LoadBalancer: least_in_flight needs steps: a router does not see when an item "
                "has left its route"
            )
        self._steps = [
            InnerStep(given, f"LoadBalancer: steps[{n}]") for n, given in enumerate(settings.steps)
        ]
        self._names = [step.name for step in self._steps] or settings.targets
        self._balance = Balance(weights)

    def open(self, ctx: RuntimeContext) -> None:
        """Open all steps; if one cannot be opened, close those that were."""
        try:
            for step in self._steps:
                step.open(ctx)
        except BaseException:
            self.close()
            raise

    async def execute(self, item: Any) -> Any:
        """The route of an item, or the result of its operator.

        Raises:
            ItemError: ``sticky``, and the item has no key.
        """
        chosen = self._choose(item)
        self.ctx.count(f"to_{self._names[chosen]}")
        if not self._steps:
            return self._names[chosen]
        self._balance.start(chosen)
        try:
            return await self._steps[chosen].run(item)
        finally:
            self._balance.end(chosen)

    def close(self) -> None:
        """Close all steps."""
        for step in self._steps:
            step.close()

    def _choose(self, item: Any) -> int:
        if self._strategy != "sticky":
            chosen: int = getattr(self._balance, self._strategy)()
            return chosen
        key = self.config.key
        if callable(key):
            found = key(item)
        else:
            found = self.ctx.key if key is None else metadata_of(item).get(key)
        if found is None:
            raise ItemError(
                f"the item has no key to stick to: expected the field {key!r}"
                if key is not None
                else "the item has no key to stick to: put key_by before it, or set key"
            )
        return self._balance.sticky(f"{type(found).__name__}:{found}")
