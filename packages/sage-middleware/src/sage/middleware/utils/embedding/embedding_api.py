"""``apply_embedding_model``: the embedding model behind a name."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sage.common.errors import ConfigError, PluginError
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
        ConfigError: The name is unknown, a setting is wrong, or a key is missing.
        MissingExtraError: The model needs a package that is not installed; says which extra.
        PluginError: The entry point cannot be loaded or makes something else.
    """
    if isinstance(name, EmbeddingModel):
        if settings:
            raise ConfigError(
                f"a ready embedding model takes no settings, got {sorted(settings)}; give its name"
            )
        return name
    found = _entry_point(name)
    try:
        factory = found.load()
    except (ImportError, AttributeError) as exc:
        raise PluginError(
            f"embedding {name!r} ({found.value}) cannot be loaded: {exc}", entry_point=found.value
        ) from exc
    try:
        model = factory(**settings)
    except TypeError as exc:
        raise ConfigError(f"embedding {name!r}: {exc}", name=name) from exc
    if not isinstance(model, EmbeddingModel):
        raise PluginError(
            f"embedding {name!r} ({found.value}) made a {type(model).__name__}, "
            "expected a subclass of EmbeddingModel"
        )
    return model


def embedding_names() -> list[str]:
    """The names ``apply_embedding_model`` knows, sorted; imports none of them."""
    return sorted(entry_points(group=GROUP).names)


def _entry_point(name: str) -> EntryPoint:
    group = entry_points(group=GROUP)
    if name in group.names:
        return group[name]
    close = difflib.get_close_matches(name, group.names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = ", ".join(sorted(group.names)) or "none: reinstall isage-middleware"
    raise ConfigError(f"unknown embedding model {name!r}; {hint}Known: {known}", name=name)
