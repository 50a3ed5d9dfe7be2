"""transformers' own BERT over the tiny model's files, against the NumPy reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding import apply_embedding_model

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TEXTS = ["the cat sat on the mat", "a small dog ran", "dogs"]


@pytest.fixture
def hf_folder(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    marks = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (bert_folder / "tokenizer_config.json").write_text(json.dumps({**names, **marks}))
    return bert_folder


def say(folder: Path, name: str, value: Any) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("said", "pool"),
    [
        (None, lambda states: states.mean(0)),
        ({"pooling_mode_mean_tokens": True}, lambda states: states.mean(0)),
        ({"pooling_mode_cls_token": True}, lambda states: states[0]),
        ({"pooling_mode_max_tokens": True}, lambda states: states.max(0)),
        ({"pooling_mode_lasttoken": True}, lambda states: states[-1]),
        ({"pooling_mode": "cls"}, lambda states: states[0]),
    ],
)
def test_vectors_are_pooled_as_the_files_say(
    hf_folder: Path,
    bert_weights: dict[str, np.ndarray],
    forward: Any,
    said: Any,
    pool: Callable[[np.ndarray], np.ndarray],
) -> None:
    if said is not None:
        say(hf_folder, "1_Pooling/config.json", said)
    model = apply_embedding_model("hf", model=str(hf_folder))
    out = model.embed_many(TEXTS)
    ids = [model._tokenizer(text)["input_ids"] for text in TEXTS]  # type: ignore[attr-defined]
    expected = np.stack([pool(forward(bert_weights, row, 4)) for row in ids])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (out * expected).sum(1).min() > 0.99999
    assert model.usage.tokens == sum(map(len, ids))


def test_it_equals_minilm_on_the_same_files(hf_folder: Path) -> None:
    ours = apply_embedding_model("minilm", path=str(hf_folder)).embed_many(TEXTS)
    theirs = apply_embedding_model("huggingface", model=str(hf_folder)).embed_many(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_prompts_of_the_model_are_used(hf_folder: Path) -> None:
    say(hf_folder, "config_sentence_transformers.json", {"prompts": {"query": "the big "}})
    model = apply_embedding_model("hf", model=str(hf_folder))
    np.testing.assert_allclose(
        model.embed("cat", kind="query"), model.embed("the big cat"), atol=1e-6
    )
    assert "query_prefix='the big '" in model.fingerprint
    again = apply_embedding_model(**model.spec)
    assert again.fingerprint == model.fingerprint


def test_length_limits(hf_folder: Path) -> None:
    say(hf_folder, "sentence_bert_config.json", {"max_seq_length": 6})
    model = apply_embedding_model("hf", model=str(hf_folder))
    one, other = model.embed_many(["the cat sat on mat", "the cat sat on house"])
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert "max_tokens=6" in model.fingerprint


def test_what_is_not_done_here_is_refused(hf_folder: Path) -> None:
    say(hf_folder, "modules.json", [{"type": "a.Transformer"}, {"type": "a.models.Dense"}])
    with pytest.raises(ConfigError, match="Dense"):
        apply_embedding_model("hf", model=str(hf_folder))
    say(hf_folder, "modules.json", [{"type": "a.Transformer"}, {"type": "a.Pooling"}])
    say(hf_folder, "1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True})
    with pytest.raises(ConfigError, match="weightedmean"):
        apply_embedding_model("hf", model=str(hf_folder))
    with pytest.raises(ConfigError, match="pooling must be one of"):
        apply_embedding_model("hf", model=str(hf_folder), pooling="sum")


def test_a_model_that_is_not_here_is_the_users_error(
    tmp_path: Path, hf_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        apply_embedding_model("hf", model=str(tmp_path))
    (hf_folder / "model.safetensors").rename(hf_folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        apply_embedding_model("hf", model=str(hf_folder))


def test_a_closed_model_says_so(hf_folder: Path) -> None:
    model = apply_embedding_model("hf", model=str(hf_folder))
    model.close()
    with pytest.raises(ConfigError, match="closed"):
        model.embed("x")
