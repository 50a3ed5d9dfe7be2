"""``FallbackHandler``: the next step is tried when one fails, is too slow, or is not sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.api.functions import MapFunction
from sage.common.errors import ConfigError, JobError
from sage.lib.routing.facts import facts_of
from sage.lib.routing.steps import InnerStep

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class NoStepSucceededError(JobError):
    """Every step of a ``FallbackHandler`` failed. Attribute: ``reasons``, by step."""


class FallbackHandler(MapFunction[Any, Any]):
    """Tries its steps in order and gives the first result that is good enough.

    A step is passed over when it raises, when it takes longer than ``timeout``, or when its result
    scores below ``min_score``. If only the score was too low everywhere, the best-scored result is
    given (``low: fail`` raises instead). Which step answered, and why the others did not, is
    counted in the metrics: ``answered_NAME``, ``error_NAME``, ``timeout_NAME``, ``low_NAME``.

    Without scores ``stream.fallback(...)`` does the same in the graph itself.

    Example:
        >>> steps = [
        ...     {"operator": "OpenAIGenerator", "config": {"model": "gpt-4o"}},
        ...     {"operator": "ExtractiveGenerator"},
        ... ]
        >>> stream.map(FallbackHandler, {"steps": steps, "timeout": 20})
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            steps: Registered names, classes, functions, or mappings with ``operator``, ``config``
                and ``name``; in the order in which they are tried.
            timeout: Seconds for one step; default: no limit.
            min_score: Least score of a good result; default: scores are not asked for.
            score: Fact of the result that is its score (see ``sage.lib.routing.facts``), or a
                function from the result to a number. A result without it scores too low.
            low: When no result is good enough: ``best`` gives the best one, ``fail`` raises.
        """

        steps: list[Any] = attrs.field(validator=attrs.validators.min_len(1))
        timeout: float | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
        )
        min_score: float | None = None
        score: Any = "score"
        low: str = attrs.field(default="best", validator=attrs.validators.in_(("best", "fail")))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        if not isinstance(settings.score, str) and not callable(settings.score):
            raise ConfigError(
                f"FallbackHandler: score must be a name or a function, got {settings.score!r}"
            )
        self._steps = [
            InnerStep(given, f"FallbackHandler: steps[{n}]")
            for n, given in enumerate(settings.steps)
        ]

    def open(self, ctx: RuntimeContext) -> None:
        """Open all steps; if one cannot be opened, close those that were."""
        try:
            for step in self._steps:
                step.open(ctx)
        except BaseException:
            self.close()
            raise

    async def execute(self, item: Any) -> Any:
        """The first result that is good enough.

        Raises:
            NoStepSucceededError: None is; its cause is the last error.
        """
        settings = self.config
        reasons: dict[str, str] = {}
        last: Exception | None = None
        best: tuple[float, InnerStep, Any] | None = None
        for step in self._steps:
            try:
                result = await step.run(item, settings.timeout)
            except TimeoutError as error:
                last = error
                self.ctx.count(f"timeout_{step.name}")
                reasons[step.name] = str(error) or f"took longer than {settings.timeout} s"
                continue
            except Exception as error:  # noqa: BLE001 - any failure is what this step is for
                last = error
                self.ctx.count(f"error_{step.name}")
                reasons[step.name] = f"{type(error).__name__}: {error}"
                continue
            score = None if settings.min_score is None else self._score(result)
            if settings.min_score is None or (score is not None and score >= settings.min_score):
                self.ctx.count(f"answered_{step.name}")
                return result
            self.ctx.count(f"low_{step.name}")
            reasons[step.name] = f"score {score} is below {settings.min_score}"
            rank = float("-inf") if score is None else score
            if best is None or rank > best[0]:
                best = (rank, step, result)
        if best is not None and settings.low == "best":
            self.ctx.count(f"answered_{best[1].name}")
            return best[2]
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise NoStepSucceededError(
            f"none of the {len(self._steps)} steps succeeded: {told}", reasons=reasons
        ) from last

    def close(self) -> None:
        """Close all steps."""
        for step in self._steps:
            step.close()

    def _score(self, result: Any) -> float | None:
        score = self.config.score
        found = facts_of(result).get(score) if isinstance(score, str) else score(result)
        return None if found is None else float(found)
