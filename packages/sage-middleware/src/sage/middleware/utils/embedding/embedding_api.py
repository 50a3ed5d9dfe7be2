"""``apply_embedding_model``: the embedding model behind a name."""

from __future__ import annotations

from typing import Any

from sage.common.errors import ConfigError, PluginError
from sage.common.plugins import Registry
from sage.middleware.utils.embedding.model import EmbeddingModel, EmbeddingUsage

__all__ = ["EmbeddingModel", "EmbeddingUsage", "apply_embedding_model", "embedding_names"]

GROUP = "sage.embedders"


def apply_embedding_model(
    name: str | EmbeddingModel = "default", **settings: Any
) -> EmbeddingModel:
    """Make the embedding model registered as ``name``.

    Args:
        name: A name of the entry-point group ``sage.embedders``: ``default``, ``hash``, ``minilm``,
            ``hf`` (also ``huggingface``), ``openai``, ``ollama``, ``jina``, ``cohere``, ``mock``,
            or one that an installed plugin registers. A ready model is returned as it is.
        settings: The model's own settings, and ``batch_size``, ``cache_bytes``, ``cache_path``.

    Returns:
        The model; the caller closes it.

    Raises:
        UnknownNameError: The name is unknown; the message has the nearest one.
        ConfigError: A setting is wrong, or a key is missing.
        MissingExtraError: The model needs a package that is not installed; says which extra.
        PluginError: The entry point cannot be loaded or makes something else.
    """
    if isinstance(name, EmbeddingModel):
        if settings:
            raise ConfigError(
                f"a ready embedding model takes no settings, got {sorted(settings)}; give its name"
            )
        return name
    factory = Registry(GROUP).get(name)
    try:
        model = factory(**settings)
    except TypeError as exc:
        raise ConfigError(
            f"embedding {name!r}: {exc}; settings are keywords, as in "
            f"apply_embedding_model({name!r}, setting=value)",
            name=name,
        ) from exc
    if not isinstance(model, EmbeddingModel):
        raise PluginError(
            f"the embedding {name!r} made a {type(model).__name__}, "
            "expected a subclass of EmbeddingModel"
        )
    return model


def embedding_names() -> list[str]:
    """The names ``apply_embedding_model`` knows, sorted; imports none of them."""
    return Registry(GROUP).names()
