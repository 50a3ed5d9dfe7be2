"""``ConditionalRouter``: the first rule that holds names the route."""

from __future__ import annotations

from typing import Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.contracts import RoutingFunction
from sage.lib.routing.facts import facts_of


class ConditionalRouter(RoutingFunction):
    """Routes by rules in order; an item for which none holds takes ``default``.

    A rule is ``{"route": name, "when": filter}``, in the filter language of the memory collections
    (``{"topic": "law", "length": {"$gt": 500}}``; ``$or``, ``$not`` …) over the facts of the item
    (see ``sage.lib.routing.facts``), or in Python ``{"route": name, "if": function}``.

    Example:
        >>> rules = [{"route": "long", "when": {"length": {"$gt": 500}}}]
        >>> routed = stream.route(ConditionalRouter, {"rules": rules, "default": "short"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            rules: Rules, asked in this order.
            default: Route of the items for which no rule holds.
        """

        rules: list[Any] = attrs.field(validator=attrs.validators.min_len(1))
        default: str = "default"

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        # The filters bring NumPy with their package: only for who routes.
        from sage.middleware.services.memory.vdb.filters import parse  # noqa: PLC0415

        self._rules: list[tuple[str, Any, Any]] = []
        for number, rule in enumerate(self.config.rules):
            where = f"ConditionalRouter: rules[{number}]"
            if not isinstance(rule, dict) or not isinstance(rule.get("route"), str):
                raise ConfigError(f"{where} must be a mapping with 'route', got {rule!r:.80}")
            given = set(rule) - {"route"}
            if given == {"when"}:
                self._rules.append((rule["route"], parse(rule["when"]), None))
            elif given == {"if"} and callable(rule["if"]):
                self._rules.append((rule["route"], None, rule["if"]))
            else:
                raise ConfigError(
                    f"{where} must have either 'when' (a filter) or 'if' (a function), "
                    f"got {sorted(given)}"
                )

    def execute(self, item: Any) -> str:
        """Name the route of one item."""
        from sage.middleware.services.memory.vdb.filters import matches  # noqa: PLC0415

        facts = facts_of(item)
        for route, node, function in self._rules:
            if function(item) if node is None else matches(node, facts):
                self.ctx.count(f"route_{route}")
                return route
        return str(self.config.default)
