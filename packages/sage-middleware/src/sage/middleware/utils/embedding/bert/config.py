"""What a model folder says about its encoder: ``config.json`` and sentence-transformers' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import attrs

from sage.common.errors import ConfigError

Pooling = Literal["mean", "cls"]

ACTIVATIONS = {
    "gelu": "BiasGelu",
    "gelu_new": "FastGelu",
    "gelu_fast": "FastGelu",
    "gelu_pytorch_tanh": "FastGelu",
}


@attrs.frozen(kw_only=True)
class BertConfig:
    """The shape of a BERT encoder.

    Attributes:
        layers, heads, hidden: Numbers of layers and heads; width of a token's vector.
        positions: Longest input the position table allows, tokens.
        activation: Name as in ``ACTIVATIONS``.
        epsilon: Of the layer normalisation.
        pooling: How token vectors become one: their mean, or the first.
        max_tokens: Longest input the model was made for, tokens; longer texts are cut.
    """

    layers: int
    heads: int
    hidden: int
    positions: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    pooling: Pooling = "mean"
    max_tokens: int = 256


def read_config(folder: Path) -> BertConfig:
    """Read a model folder's configuration.

    Raises:
        ConfigError: A file is missing, or describes something that is not a plain BERT.
    """
    raw = read_json(folder / "config.json")
    kind = raw.get("model_type")
    if kind != "bert" or raw.get("position_embedding_type", "absolute") != "absolute":
        raise ConfigError(
            f"{str(folder)!r} holds a model of type {kind!r}; only BERT encoders with absolute "
            "positions run here: use the embedding 'hf' for others"
        )
    activation = raw.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"{str(folder)!r}: activation {activation!r} is not supported here, "
            f"expected one of {sorted(ACTIVATIONS)}: use the embedding 'hf'"
        )
    try:
        positions = int(raw["max_position_embeddings"])
        sentence = folder / "sentence_bert_config.json"
        wanted = read_json(sentence).get("max_seq_length") if sentence.is_file() else None
        return BertConfig(
            layers=int(raw["num_hidden_layers"]),
            heads=int(raw["num_attention_heads"]),
            hidden=int(raw["hidden_size"]),
            positions=positions,
            activation=activation,
            epsilon=float(raw.get("layer_norm_eps", 1e-12)),
            pooling=read_pooling(folder),
            max_tokens=min(int(wanted or 256), positions),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"{str(folder / 'config.json')!r}: missing or wrong {exc}") from exc


def read_pooling(folder: Path) -> Pooling:
    """Read ``1_Pooling/config.json`` of sentence-transformers; ``mean`` when there is none.

    Raises:
        ConfigError: The model pools in another way than by mean or first token.
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    modes = [
        key.removeprefix("pooling_mode_")
        for key, on in read_json(path).items()
        if key.startswith("pooling_mode_") and on is True
    ]
    if modes == ["mean_tokens"]:
        return "mean"
    if modes == ["cls_token"]:
        return "cls"
    raise ConfigError(f"{str(path)!r}: pooling {modes} is not supported, expected mean or cls")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigError: The file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise ConfigError(
            f"the model folder lacks {path.name!r} ({str(path)!r}); copy the whole folder"
        ) from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{str(path)!r} cannot be read as JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ConfigError(f"{str(path)!r} must hold a JSON object, got {type(value).__name__}")
    return value
