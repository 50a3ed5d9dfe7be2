"""What a model's files say about pooling, length and prompts; in a folder or in the hub's cache.

The files are those sentence-transformers writes beside a model: ``modules.json``,
``1_Pooling/config.json``, ``sentence_bert_config.json``, ``config_sentence_transformers.json``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding.bert.config import read_json

Pooling = Literal["mean", "cls", "max", "last"]

_MODES: dict[str, Pooling] = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "max_tokens": "max",
    "lasttoken": "last",
    # The mean times a number per text, which the normalisation takes out.
    "mean_sqrt_len_tokens": "mean",
}
_MODULES = ("Transformer", "Pooling", "Normalize")


@attrs.frozen(kw_only=True)
class ModelCard:
    """What the files say.

    Attributes:
        folder: Where the files are.
        pooling: How token vectors become one.
        max_tokens: Longest input, or ``None`` when no file says.
        query_prompt, document_prompt: Put before texts of that kind.
    """

    folder: Path
    pooling: Pooling
    max_tokens: int | None
    query_prompt: str
    document_prompt: str


def read_card(model: str, revision: str | None, pooling: Pooling | None) -> ModelCard:
    """Read what is said about ``model``, a folder or a name on the hub.

    Args:
        model: As given by the user.
        revision: Of a model on the hub.
        pooling: The user's choice; the files are asked when ``None``, and ``mean`` is the rule of
            sentence-transformers for models that say nothing.

    Raises:
        ConfigError: A file is missing or asks for something that is not done here.
    """
    if pooling is not None and pooling not in get_args(Pooling):
        raise ConfigError(
            f"embedding 'hf': pooling must be one of {get_args(Pooling)}, got {pooling!r}"
        )
    config = _side_file(model, "config.json", revision)
    if config is None:
        raise ConfigError(f"embedding 'hf': {model!r} has no config.json; is it a model's folder?")
    if pooling is None:
        pooling = _pooling_of(model, revision)
    limit = _read(_side_file(model, "sentence_bert_config.json", revision)).get("max_seq_length")
    prompts = _read(_side_file(model, "config_sentence_transformers.json", revision)).get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    return ModelCard(
        folder=config.parent,
        pooling=pooling,
        max_tokens=int(limit) if limit else None,
        query_prompt=str(prompts.get("query") or ""),
        document_prompt=str(prompts.get("document") or prompts.get("passage") or ""),
    )


def weights_digest(folder: Path) -> str:
    """SHA-256 over the safetensors files of a folder, in the order of their names.

    Raises:
        ConfigError: There are none: pickled weights are not loaded.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(
            f"{str(folder)!r} has no safetensors weights; other formats can run code when loaded "
            "and are refused: convert the model"
        )
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _pooling_of(model: str, revision: str | None) -> Pooling:
    _check_modules(model, revision)
    path = _side_file(model, "1_Pooling/config.json", revision)
    if path is None:
        return "mean"
    said = _read(path)
    modes = [
        key.removeprefix("pooling_mode_")
        for key, on in said.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    single = said.get("pooling_mode")
    if isinstance(single, str):
        # Newer files name the mode itself: "mean", "cls", "max", "lasttoken".
        modes = [name for name in (single, f"{single}_token", f"{single}_tokens") if name in _MODES]
    if len(modes) == 1 and modes[0] in _MODES:
        return _MODES[modes[0]]
    raise ConfigError(
        f"embedding 'hf': {model!r} pools by {modes}, which is not done here; "
        f"give pooling= one of {get_args(Pooling)} if that is meant"
    )


def _check_modules(model: str, revision: str | None) -> None:
    path = _side_file(model, "modules.json", revision)
    if path is None:
        return
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in _json_list(path)]
    except (KeyError, TypeError) as exc:
        raise ConfigError(f"{str(path)!r}: every module needs a type") from exc
    others = [kind for kind in kinds if kind not in _MODULES]
    if others:
        raise ConfigError(
            f"embedding 'hf': {model!r} adds the modules {others} after its encoder, which are not "
            "run here; vectors without them would not be the model's"
        )


def _json_list(path: Path) -> list[Any]:
    value = json.loads(path.read_bytes())
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return value


def _read(path: Path | None) -> dict[str, Any]:
    return {} if path is None else read_json(path)


def _side_file(model: str, name: str, revision: str | None) -> Path | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        path = folder / name
        return path if path.is_file() else None
    return _hub_file(model, name, revision)


def _hub_file(model: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415  # comes with transformers
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(hf_hub_download(model, name, revision=revision))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as exc:
        # A missing file and a missing network must not look alike: pooling would be guessed.
        if isinstance(exc, EntryNotFoundError) and not isinstance(exc, LocalEntryNotFoundError):
            return None
        raise ConfigError(
            f"embedding 'hf': {model!r} is no folder here, and {name!r} cannot be had from the hub "
            f"({type(exc).__name__}); give the path of a folder, or download the model first"
        ) from exc
