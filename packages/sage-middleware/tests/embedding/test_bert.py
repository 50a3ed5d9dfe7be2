"""The graph we write against a slow NumPy forward pass, on a tiny random BERT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding import apply_embedding_model
from sage.middleware.utils.embedding.bert import BertConfig, MiniLMEmbedder, build_graph
from sage.middleware.utils.embedding.bert.quantise import quantise_columns
from sage.middleware.utils.embedding.bert.weights import read_weights

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

TEXTS = [
    "the cat sat on the mat",
    "a small dog ran",
    "dogs",
    "the red house and the blue house and the big red cat slept in the house",
]
Forward = Callable[[dict[str, np.ndarray], list[int], int], np.ndarray]


def expected(model: MiniLMEmbedder, weights: Any, forward: Forward, pooling: str) -> np.ndarray:
    rows = []
    for encoding in model._tokenizer.encode_batch(TEXTS):
        states = forward(weights, encoding.ids, 4)
        rows.append(states.mean(0) if pooling == "mean" else states[0])
    out = np.stack(rows)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_fp32_equals_the_reference(
    bert_folder: Path, bert_weights: dict[str, np.ndarray], forward: Forward, pooling: str
) -> None:
    (bert_folder / "1_Pooling").mkdir()
    modes = {
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
    }
    (bert_folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    model = MiniLMEmbedder(bert_folder, max_tokens=20)
    out = model.embed_many(TEXTS)
    assert out.shape == (4, 48)
    cosine = (out * expected(model, bert_weights, forward, pooling)).sum(1)
    assert cosine.min() >= 0.99999
    # The texts must differ, or a constant would pass.
    assert (out @ out.T)[~np.eye(4, dtype=bool)].max() < 0.999
    assert f"pooling={pooling}" in model.fingerprint


def test_padding_changes_nothing(bert_folder: Path) -> None:
    model = MiniLMEmbedder(bert_folder, cache_bytes=0)
    np.testing.assert_allclose(
        model.embed_many(TEXTS), np.stack([model.embed(text) for text in TEXTS]), atol=2e-6
    )


def test_int8_is_near(
    bert_folder: Path, bert_weights: dict[str, np.ndarray], forward: Forward
) -> None:
    model = MiniLMEmbedder(bert_folder, precision="int8")
    cosine = (model.embed_many(TEXTS) * expected(model, bert_weights, forward, "mean")).sum(1)
    assert cosine.min() > 0.99
    assert model.fingerprint.endswith("precision=int8")
    graphs = [
        build_graph(BertConfig(layers=3, heads=4, hidden=48, positions=24), bert_weights, kind)
        for kind in ("fp32", "int8")
    ]
    assert len(graphs[1]) < 0.6 * len(graphs[0])


def test_names_with_a_bert_prefix_are_the_same(
    bert_folder: Path, bert_weights: dict[str, np.ndarray], write_safetensors: Any
) -> None:
    plain = MiniLMEmbedder(bert_folder).embed(TEXTS[0])
    named = {f"bert.{name}": values for name, values in bert_weights.items()}
    write_safetensors(bert_folder / "model.safetensors", named)
    np.testing.assert_array_equal(MiniLMEmbedder(bert_folder).embed(TEXTS[0]), plain)


def test_long_texts_are_cut(bert_folder: Path) -> None:
    model = MiniLMEmbedder(bert_folder, max_tokens=6)
    one, other = model.embed_many(["the cat sat on mat", "the cat sat on house"])
    np.testing.assert_array_equal(one, other)
    assert MiniLMEmbedder(bert_folder).embed("cat " * 500).shape == (48,)
    with pytest.raises(ConfigError, match="3 to 24, got 25"):
        MiniLMEmbedder(bert_folder, max_tokens=25)


def test_the_fingerprint_tells_settings_and_weights_apart(
    bert_folder: Path, bert_weights: dict[str, np.ndarray], write_safetensors: Any
) -> None:
    seen = {
        MiniLMEmbedder(bert_folder).fingerprint,
        MiniLMEmbedder(bert_folder, max_tokens=6).fingerprint,
        MiniLMEmbedder(bert_folder, precision="int8").fingerprint,
    }
    model = apply_embedding_model("minilm", path=str(bert_folder), max_tokens=6)
    assert apply_embedding_model(**model.spec).fingerprint == model.fingerprint
    assert model.fingerprint in seen
    bert_weights["embeddings.LayerNorm.bias"] += 1
    write_safetensors(bert_folder / "model.safetensors", bert_weights)
    seen.add(MiniLMEmbedder(bert_folder).fingerprint)
    assert len(seen) == 4


def test_a_closed_model_says_so(bert_folder: Path) -> None:
    model = MiniLMEmbedder(bert_folder)
    model.close()
    with pytest.raises(ConfigError, match="closed"):
        model.embed("cat")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", {"model_type": "roberta"}, "type 'roberta'.*'hf'"),
        ("config.json", {"hidden_act": "relu"}, "activation 'relu'"),
        ("config.json", {"num_hidden_layers": None}, "missing or wrong"),
        ("config.json", {"num_hidden_layers": 4}, "lack 'encoder.layer.3"),
        ("config.json", {"hidden_size": 64}, "has shape .* says"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max_tokens.*mean or cls"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    bert_folder: Path, name: str, change: dict[str, Any], words: str
) -> None:
    path = bert_folder / name
    path.parent.mkdir(exist_ok=True)
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **change}))
    with pytest.raises(ConfigError, match=words):
        MiniLMEmbedder(bert_folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_torn_file_is_named(bert_folder: Path, name: str) -> None:
    path = bert_folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=name):
        MiniLMEmbedder(bert_folder)
    path.unlink()
    with pytest.raises(ConfigError, match=name):
        MiniLMEmbedder(bert_folder)


def test_an_unknown_precision_is_refused(bert_folder: Path) -> None:
    with pytest.raises(ConfigError, match="'fp32' or 'int8', got 'fp4'"):
        MiniLMEmbedder(bert_folder, precision="fp4")  # type: ignore[arg-type]


def test_half_precision_weights_are_read(tmp_path: Path, write_safetensors: Any) -> None:
    values = np.array([[1.5, -2.25], [0.0, 384.0]], np.float32)
    tensors = {
        "half": values.astype(np.float16),
        "brain": (values.view(np.uint32) >> 16).astype(np.uint16),
        "full": values,
        "places": np.arange(3),
    }
    write_safetensors(tmp_path / "w.safetensors", tensors)
    found = read_weights(tmp_path / "w.safetensors")
    assert sorted(found.tensors) == ["brain", "full", "half"]
    for tensor in found.tensors.values():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, values)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (2).to_bytes(8, "little") + b"[]",
        (60).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ',
        (60).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}     ',
    ],
)
def test_bytes_that_are_no_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(ConfigError, match="not a complete safetensors"):
        read_weights(tmp_path / "w")


def test_quantised_columns_are_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(0, 1, (40, 7)).astype(np.float32)
    matrix[:, 3] = 0
    made = quantise_columns(matrix)
    assert np.abs(made.values).max() == 63
    assert (np.abs(made.values * made.scales - matrix) <= made.scales / 2 + 1e-6).all()
