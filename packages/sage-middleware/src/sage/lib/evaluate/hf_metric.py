"""``EvaluateMetric``: a metric script of the package ``evaluate``, from a local path."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.errors import ItemError
from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class EvaluateMetric(Metric):
    """Adds what a metric of the package ``evaluate`` computes for each answer.

    The metric is a script on this machine, and is run: use scripts you trust. A name of the hub is
    refused, so that evaluating needs no network. ``None`` when the question has no references or
    the metric gives NaN.

    Raises:
        ConfigError: There is no script at ``path``.

    Example:
        >>> stream.map(EvaluateMetric, {"path": "metrics/my_metric.py", "key": "score"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            path: The script, or the folder that holds a script of the folder's name.
            key: The number in what the metric returns.
            name: Name of the score; default: ``key``.
            references: ``all``: each answer comes with the list of its references; ``first``: with
                the first one.
            options: Further arguments of the metric's ``compute``.
        """

        path: str
        key: str
        name: str | None = None
        references: str = attrs.field(
            default="first", validator=attrs.validators.in_(("all", "first"))
        )
        options: dict[str, Any] = attrs.field(factory=dict)

    _metric: Any

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self.metrics = (self.config.name or self.config.key,)
        path = Path(self.config.path).expanduser()
        script = path / f"{path.name}.py" if path.is_dir() else path
        if script.suffix != ".py" or not script.is_file():
            raise ConfigError(
                f"EvaluateMetric: no metric script at {str(script)!r}; names of the hub are not "
                "loaded: give the path of a local copy"
            )
        self._script = script.resolve()

    def open(self, ctx: RuntimeContext) -> None:
        """Load the metric.

        Raises:
            MissingExtraError: ``evaluate`` is not installed.
        """
        try:
            import evaluate
        except ImportError as exc:
            raise MissingExtraError(exc.name or "evaluate", "eval", "EvaluateMetric") from exc
        self._metric = evaluate.load(str(self._script))

    def score(self, answer: Answer) -> Scores:
        references = list(answer.query.answers)
        name = self.metrics[0]
        if not references:
            return {name: None}
        found = self._metric.compute(
            predictions=[answer.text],
            references=[references if self.config.references == "all" else references[0]],
            **self.config.options,
        )
        value: Any = (found or {}).get(self.config.key)
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        try:
            number = float(value)
        except (TypeError, ValueError) as exc:
            known = ", ".join(map(repr, found or ()))
            raise ItemError(
                f"the metric {self._script.name!r} gave no number under {self.config.key!r} "
                f"(it gave {known})"
            ) from exc
        return {name: None if math.isnan(number) else number}
