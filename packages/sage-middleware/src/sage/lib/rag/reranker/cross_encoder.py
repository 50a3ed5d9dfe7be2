"""``CrossEncoderReranker``: a transformers model reads question and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError, PluginError
from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RerankFunction, RetrievedLike
from sage.lib.rag.reranker.base import ordered
from sage.lib.types import Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

ACTIVATIONS = ("auto", "sigmoid", "softmax", "none")


class CrossEncoderReranker(RerankFunction):
    """Scores every passage with a sequence-classification model and sorts by that.

    Pairs of all items at hand are put together, ordered by length so that little is padding, and
    scored in batches of ``batch_size``; a passage's score does not depend on what else is in its
    batch, but for rounding. The score it came with stays in ``metadata["retrieval_score"]``.

    Models with one output (the usual cross-encoders) give a relevance; with several, the
    probability of class ``label`` is taken. torch and transformers load in ``open``.

    Source: R. Nogueira, K. Cho, Passage Re-ranking with BERT, arXiv 1901.04085, 2019.

    Example:
        >>> stream.map(CrossEncoderReranker, {"model": "/models/ms-marco-MiniLM", "top_k": 5})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            model: Directory of the model, or its name on the hub (downloaded by transformers
                unless ``local_files_only``).
            top_k: Most passages; default: all.
            batch_size: Pairs per forward pass.
            max_length: Most tokens of a pair; the passage is cut, never the question. Bounded by
                what the model was made for.
            device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            activation: ``sigmoid``, ``softmax``, ``none`` (logits), or ``auto``: sigmoid for one
                output, softmax for several.
            label: Which class means relevant, for models with several outputs; default: the last.
            local_files_only: Never look on the network.
        """

        model: str
        top_k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        batch_size: int = attrs.field(default=32, validator=attrs.validators.ge(1))
        max_length: int = attrs.field(default=512, validator=attrs.validators.ge(8))
        device: str = "auto"
        activation: str = attrs.field(default="auto", validator=attrs.validators.in_(ACTIVATIONS))
        label: int | None = None
        local_files_only: bool = False

    _model: Any = None

    def open(self, ctx: RuntimeContext) -> None:
        """Load the model.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            PluginError: The model cannot be loaded.
            ConfigError: ``label`` or ``device`` is not one the model or machine has.
        """
        try:
            import torch
            from transformers import (
                AutoModelForSequenceClassification,
                AutoTokenizer,
            )
        except ImportError as error:
            raise MissingExtraError(
                error.name or "transformers", "hf", "CrossEncoderReranker"
            ) from error
        settings = self.config
        options = {"local_files_only": settings.local_files_only, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(settings.model, **options)
            model = AutoModelForSequenceClassification.from_pretrained(settings.model, **options)
        except (OSError, ValueError, KeyError) as error:
            raise PluginError(
                f"CrossEncoderReranker cannot load the model {settings.model!r}: {error}; expected "
                "a directory with config.json, weights and tokenizer of a "
                "sequence-classification model, or its name on the hub",
                model=settings.model,
            ) from error
        try:
            device = torch.device(_device(torch, settings.device))
            self._model = model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {settings.device!r} cannot be used: {error}") from error
        self._torch, self._tokenizer, self._device = torch, tokenizer, device
        self._classes = int(model.config.num_labels)
        self._label = self._classes - 1 if settings.label is None else settings.label
        if not 0 <= self._label < self._classes:
            raise ConfigError(
                f"label is {settings.label!r}, but the model {settings.model!r} has "
                f"{self._classes} outputs"
            )
        limits = [
            n
            for n in (tokenizer.model_max_length, _positions(model.config))
            if isinstance(n, int) and 0 < n < 10**9
        ]
        self._max_length = min([settings.max_length, *limits])

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Rerank the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        return self.execute_batch([item])[0]

    def execute_batch(self, items: list[Any]) -> list[Retrieved]:
        """Rerank the passages of several questions, all pairs together."""
        lists = [as_retrieved(item) for item in items]
        pairs = [(found.query.text, d.text) for found in lists for d in found.passages]
        scores = self._scores(pairs)
        out: list[Retrieved] = []
        start = 0
        for found in lists:
            end = start + len(found.passages)
            out.append(ordered(found, scores[start:end], self.config.top_k))
            start = end
        return out

    def close(self) -> None:
        """Let go of the model."""
        self._model = None

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        # Long with long: what is padded is computed for nothing.
        places = sorted(range(len(pairs)), key=lambda n: -len(pairs[n][0]) - len(pairs[n][1]))
        scores = [0.0] * len(pairs)
        for start in range(0, len(places), self.config.batch_size):
            part = places[start : start + self.config.batch_size]
            for place, score in zip(part, self._forward([pairs[n] for n in part]), strict=True):
                scores[place] = score
        return scores

    def _forward(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        room = self._max_length
        encoded = self._tokenizer(
            [self._question(question, room) for question, _ in pairs],
            [passage for _, passage in pairs],
            padding=True,
            truncation="only_second",
            max_length=room,
            return_tensors="pt",
        ).to(self._device)
        with self._torch.inference_mode():
            logits = self._model(**encoded).logits.float()
        kind = self.config.activation
        if kind == "auto":
            kind = "sigmoid" if self._classes == 1 else "softmax"
        if kind == "softmax":
            logits = logits.softmax(dim=-1)
        elif kind == "sigmoid":
            logits = logits.sigmoid()
        scores: list[float] = logits[:, self._label].tolist()
        return scores

    def _question(self, text: str, room: int) -> str:
        # A question that fills the model would leave the passage nothing: half is its share.
        limit = room // 2
        if len(text) <= limit:
            return text
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(ids) <= limit else str(self._tokenizer.decode(ids[:limit]))


def _device(torch: Any, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _positions(config: Any) -> int | None:
    count = getattr(config, "max_position_embeddings", None)
    if count is None:
        return None
    # RoBERTa and its kin number positions from the padding index on.
    offset = (config.pad_token_id or 0) + 1 if "roberta" in str(config.model_type) else 0
    return int(count) - offset
