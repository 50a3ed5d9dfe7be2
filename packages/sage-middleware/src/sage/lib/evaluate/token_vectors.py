"""Vectors of the tokens of a text under a local encoder, and the greedy match of two texts.

What BERTScore is made of. Texts are encoded one at a time: padded batches drift (by up to .027 in
bert-score), since attention kernels round differently with other shapes.

Source: Zhang et al., BERTScore: Evaluating Text Generation with BERT, 2020.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, MissingExtraError

Matrix = npt.NDArray[np.float32]


@attrs.frozen(eq=False)
class TokenVectors:
    """One text.

    Attributes:
        vectors: ``(tokens, dim)`` float32, L2-normalised rows, special tokens included.
        weights: ``(tokens,)``: 1 for the tokens of the text, 0 for the marks around it.
    """

    vectors: Matrix
    weights: Matrix


@attrs.frozen(kw_only=True)
class Match:
    """Greedy match of an answer with a reference; each in ``[-1, 1]``, usually above 0."""

    precision: float
    recall: float
    f1: float


class TokenEncoder:
    """Encodes texts with a transformer from a folder.

    Args:
        model: Folder of the model, or a name that is in the hub's cache on this machine.
        layer: Which layer's output counts, from 1; default: the last.
        device: ``cpu``, ``cuda`` ...

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: The model cannot be loaded, or has no such layer.
    """

    def __init__(self, model: str, *, layer: int | None = None, device: str = "cpu") -> None:
        try:
            import torch
            import transformers
        except ImportError as exc:
            raise MissingExtraError(exc.name or "transformers", "hf", "BERTScore") from exc
        path = Path(model).expanduser()
        where = str(path) if path.is_dir() else model
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                where, local_files_only=True
            )
            network: Any = transformers.AutoModel.from_pretrained(
                where, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"BERTScore: {model!r} cannot be loaded: give the folder of an encoder with "
                f"config.json, safetensors weights and a tokenizer ({exc})"
            ) from exc
        layers = int(network.config.num_hidden_layers)
        if layer is not None and not 1 <= layer <= layers:
            raise ConfigError(f"BERTScore: layer must be from 1 to {layers}, got {layer}")
        self._layer = layers if layer is None else layer
        self._last = self._layer == layers
        self._network = network.to(device).eval()
        self._device = device
        self._torch = torch
        limits = (self._tokenizer.model_max_length, network.config.max_position_embeddings)
        self._limit = min(int(limit) for limit in limits)
        self._turn = threading.Lock()
        # References come back with every answer to their question.
        self._encoded = lru_cache(maxsize=2048)(self._encode)

    def encode(self, text: str) -> TokenVectors:
        """The token vectors of a text; too long ones are cut."""
        with self._turn:
            return self._encoded(text.strip())

    def _encode(self, text: str) -> TokenVectors:
        torch = self._torch
        ids = self._tokenizer.encode(
            text, add_special_tokens=True, max_length=self._limit, truncation=True
        )
        batch = torch.tensor([ids], device=self._device)
        with torch.inference_mode():
            out = self._network(
                batch, attention_mask=torch.ones_like(batch), output_hidden_states=not self._last
            )
            states = out.last_hidden_state if self._last else out.hidden_states[self._layer]
            vectors = torch.nn.functional.normalize(states[0].float(), dim=-1).cpu().numpy()
        marks = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        weights = np.array([float(each not in marks) for each in ids], np.float32)
        return TokenVectors(vectors, weights)


def match(answer: TokenVectors, reference: TokenVectors) -> Match:
    """Each token with the nearest of the other text; 0 when a text has no tokens."""
    own, other = float(answer.weights.sum()), float(reference.weights.sum())
    if own == 0 or other == 0:
        return Match(precision=0.0, recall=0.0, f1=0.0)
    near = answer.vectors @ reference.vectors.T
    precision = float(near.max(axis=1) @ answer.weights) / own
    recall = float(near.max(axis=0) @ reference.weights) / other
    total = precision + recall
    return Match(
        precision=precision, recall=recall, f1=2 * precision * recall / total if total else 0.0
    )
