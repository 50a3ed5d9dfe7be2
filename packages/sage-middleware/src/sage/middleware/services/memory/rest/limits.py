"""What a client may ask the server for, beyond what the collections check themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from sage.middleware.services.memory.errors import InvalidInputError

DEFAULT_MODELS = frozenset({"default", "hash", "minilm"})
_CREATE_OPTIONS = frozenset({"metric", "engine", "durability", "text_fields", "language"})


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of requests.

    Attributes:
        models: Embedding models that clients may name: those that read no file and call no server
            of the client's choice.
        topk: Greatest ``topk``.
        queries: Most queries in one request.
    """

    models: Collection[str] = DEFAULT_MODELS
    topk: int = 10_000
    queries: int = 1_000

    def check_model(self, model: str | Mapping[str, Any] | None) -> None:
        """Refuse a model that could make the server read files or call addresses.

        Raises:
            InvalidInputError: It is not among ``models``, or has settings that are no numbers.
        """
        if model is None:
            return
        spec = {"name": model} if isinstance(model, str) else dict(model)
        name = spec.pop("name", None)
        if name not in self.models:
            raise InvalidInputError(
                f"this server offers the embedding models {', '.join(sorted(self.models))}, not "
                f"{name!r}; whoever runs it can add some with --allow-model"
            )
        for key, value in spec.items():
            # Texts could be paths or addresses; `precision` of minilm is a choice of two.
            if not isinstance(value, int | float) and (key, value) not in _CHOICES:
                raise InvalidInputError(
                    f"the setting {key!r} of an embedding model is {value!r}; clients may give "
                    "numbers only"
                )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse options of ``create_collection`` that are not the client's to choose."""
        unknown = sorted(set(options) - _CREATE_OPTIONS)
        if unknown:
            raise InvalidInputError(
                f"a collection takes {', '.join(sorted(_CREATE_OPTIONS))} here, not {unknown[0]!r}"
            )

    def check_query(self, topk: int, queries: int) -> None:
        """Refuse a query that would keep the server busy for others."""
        if topk > self.topk:
            raise InvalidInputError(f"topk is {topk}; this server answers at most {self.topk}")
        if queries > self.queries:
            raise InvalidInputError(
                f"{queries} queries in one request; this server takes at most {self.queries}"
            )


_CHOICES = {("precision", "fp32"), ("precision", "int8")}
