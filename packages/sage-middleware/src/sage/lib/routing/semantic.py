"""``SemanticRouter``: the route whose examples are nearest to the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_query
from sage.lib.contracts import RoutingFunction

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class SemanticRouter(RoutingFunction):
    """Compares the question with example questions of every route, by embeddings.

    The score of a route is the cosine of its nearest example; below ``threshold`` everywhere, the
    item takes ``default``.

    Example:
        >>> routes = {"billing": ["How do I pay?"], "support": ["It does not start."]}
        >>> routed = stream.route(SemanticRouter, {"routes": routes, "threshold": 0.3})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            routes: Example questions by route.
            default: Route of what is near to none.
            threshold: Least cosine, in [-1, 1].
            embedding: Embedding model, with its ``method``; default: the default model.
        """

        routes: dict[str, list[str]] = attrs.field(validator=attrs.validators.min_len(1))
        default: str = "default"
        threshold: float = 0.0
        embedding: dict[str, Any] = attrs.field(factory=dict)

    _owners: list[str]

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        empty = [route for route, examples in self.config.routes.items() if not examples]
        if empty:
            raise ConfigError(f"SemanticRouter: the routes {empty} have no examples")

    def open(self, ctx: RuntimeContext) -> None:
        """Load the embedding model and embed the examples.

        Raises:
            ConfigError, UnknownNameError: The embedding cannot be made.
        """
        from sage.middleware.utils.embedding import apply_embedding_model  # noqa: PLC0415 - NumPy

        settings = dict(self.config.embedding)
        self._model = apply_embedding_model(settings.pop("method", "default"), **settings)
        pairs = [(r, text) for r, examples in self.config.routes.items() for text in examples]
        self._owners = [route for route, _ in pairs]
        # As queries: questions are compared with questions.
        self._vectors = self._model.embed_many([text for _, text in pairs], kind="query")

    def execute(self, item: Any) -> str:
        """Name the route of one item.

        Raises:
            ItemError: The item holds no question.
        """
        scores = self._vectors @ self._model.embed(as_query(item).text, kind="query")
        best = int(scores.argmax())
        if float(scores[best]) < self.config.threshold:
            return str(self.config.default)
        return self._owners[best]

    def close(self) -> None:
        """Release the model."""
        self._model.close()
