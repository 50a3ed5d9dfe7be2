"""``hf``: encoders by torch and transformers, pooled as the model's files say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, MissingExtraError
from sage.middleware.utils.embedding.hf.folder import Pooling, read_card, weights_digest
from sage.middleware.utils.embedding.model import EmbeddingModel, Kind

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "float16", "bfloat16"]

EXTRA = "hf"
# Where neither the files nor the tokenizer name a limit.
DEFAULT_MAX_TOKENS = 512


class HuggingFaceEmbedder(EmbeddingModel):
    """Any encoder ``AutoModel`` loads: token vectors pooled, L2-normalised.

    Weights are read from safetensors only, and code that comes with a model is never run. Calls of
    several threads take turns: torch uses the processors by itself.

    Args:
        model: A folder, or a name on the hub, which transformers downloads unless
            ``HF_HUB_OFFLINE`` is set.
        revision: Of a model on the hub.
        pooling: ``mean``, ``cls``, ``max`` or ``last``; what the model's files say when ``None``,
            and ``mean`` where they say nothing.
        max_tokens: Longer texts are cut, tokens; the model's own limit when ``None``.
        device: ``"cpu"``, ``"cuda"``, ...; CUDA where torch sees it when ``None``.
        precision: Of the computation.
        query_prefix, document_prefix: The model's own prompts when ``None``.
        batch_size, cache_bytes, cache_path: As for ``EmbeddingModel``.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: The model is not there, has no safetensors, or needs modules not run here.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        pooling: Pooling | None = None,
        max_tokens: int | None = None,
        device: str | None = None,
        precision: Precision = "float32",
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        **settings: Any,
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(
                f"embedding 'hf': precision must be one of {get_args(Precision)}, got {precision!r}"
            )
        try:
            import torch
            import transformers
        except ImportError as exc:
            raise MissingExtraError(
                exc.name or "transformers", EXTRA, "the embedding model 'hf'"
            ) from exc
        card = read_card(model, revision, pooling)
        where = str(card.folder)
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(where)
            # Through the hub's name the weights are fetched; through the folder they are not.
            network = transformers.AutoModel.from_pretrained(
                model, revision=revision or "main", use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as exc:
            raise ConfigError(f"embedding 'hf': {model!r} cannot be loaded: {exc}") from exc
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._network: Any = network.to(self._device, getattr(torch, precision)).eval()
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._pooling = card.pooling
        self._max_tokens = max_tokens or card.max_tokens or _limit(self._tokenizer, network.config)
        self._digest = weights_digest(card.folder)
        self._precision = precision
        self._turn = threading.Lock()
        options = {
            "model": model,
            "revision": revision,
            "pooling": pooling,
            "max_tokens": max_tokens,
            "device": device,
            "precision": precision,
        }
        super().__init__(
            name="hf",
            dim=int(network.config.hidden_size),
            options={key: value for key, value in options.items() if value is not None},
            query_prefix=card.query_prompt if query_prefix is None else query_prefix,
            document_prefix=card.document_prompt if document_prefix is None else document_prefix,
            **settings,
        )

    @property
    def fingerprint(self) -> str:
        """Digest of the weights, pooling, length limit, precision, prefixes."""
        return (
            f"hf:weights={self._digest[:16]};pooling={self._pooling};"
            f"max_tokens={self._max_tokens};precision={self._precision}{self._prefix_mark()}"
        )

    def close(self) -> None:
        """Let go of the network; embedding afterwards is an error."""
        self._network = None
        super().close()

    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        import torch

        with self._turn, torch.inference_mode():
            if self._network is None:
                raise ConfigError("the embedding model 'hf' is closed; make a new one")
            batch = self._tokenizer(
                list(texts),
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            ).to(self._device)
            states = self._network(**batch).last_hidden_state
            mask = batch["attention_mask"]
            pooled = _pool(states.float(), mask, self._pooling)
            self._count(tokens=int(mask.sum()))
            vectors: npt.NDArray[np.float32] = pooled.cpu().numpy()
        return vectors


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool ``(batch, tokens, dim)`` to ``(batch, dim)``, whichever side is padded."""
    import torch

    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    if pooling == "cls":
        chosen = places.masked_fill(mask == 0, mask.shape[1]).amin(1)
    else:
        chosen = places.masked_fill(mask == 0, -1).amax(1)
    return states[torch.arange(len(states), device=states.device), chosen]


def _limit(tokenizer: Any, config: Any) -> int:
    # Tokenizers that know no limit say 10**30.
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    known = [int(limit) for limit in limits if limit and limit < 10**9]
    return min(known) if known else DEFAULT_MAX_TOKENS
