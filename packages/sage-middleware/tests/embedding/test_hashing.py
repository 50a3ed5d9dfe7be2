from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding import apply_embedding_model
from sage.middleware.utils.embedding.hashing import HashEmbedder

SENTENCE = "Backpressure keeps a fast producer from flooding a slow consumer."

PINNED = [
    0.2430547,
    0.0060764,
    0.0000000,
    -0.1215274,
    -0.5863695,
    -0.2369783,
    -0.0060764,
    0.0000000,
    0.1215274,
    0.4800330,
    -0.2057637,
    0.1215274,
    0.1215274,
    0.4253457,
    0.1215274,
    -0.1154510,
]


def test_the_same_text_gives_the_same_vector_in_another_process() -> None:
    program = (
        "from sage.middleware.utils.embedding import apply_embedding_model as apply;"
        f"print(apply('hash').embed({SENTENCE!r}).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(done.stdout) == HashEmbedder().embed(SENTENCE).tobytes()


def test_the_scheme_is_pinned() -> None:
    """A change of any of these numbers makes stored collections wrong: raise SCHEME then."""
    vector = HashEmbedder(dim=16, cache_bytes=0).embed("The cat sat, 猫が座った.")
    assert HashEmbedder(dim=16).fingerprint == "hash:scheme=1;dim=16"
    np.testing.assert_allclose(vector, PINNED, atol=1e-6)


def test_related_texts_are_nearer_than_unrelated() -> None:
    model = HashEmbedder()
    a, b, c = model.embed_many(
        [
            "How do checkpoints make a pipeline fault tolerant?",
            "Fault-tolerant pipelines write a checkpoint regularly.",
            "The recipe needs two eggs and a cup of flour.",
        ]
    )
    assert a @ b > 0.3
    assert a @ b > a @ c + 0.25


def test_a_misspelled_word_still_matches() -> None:
    model = HashEmbedder()
    right, wrong, other = model.embed_many(["embedding", "embeding", "kitchen"])
    assert right @ wrong > 0.3
    assert right @ wrong > right @ other + 0.25


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("东京的人口是多少?", "东京都的人口约为一千四百万。", "这只猫在垫子上睡觉。"),
        ("東京の人口は?", "東京都の人口は約千四百万人です。", "猫はマットの上で寝ている。"),
        ("서울의 인구는 얼마입니까?", "서울 인구는 약 천만 명이다.", "고양이가 매트 위에서 잔다."),
        ("Wie groß ist Berlin?", "Die Größe von Berlin: 891 km².", "Der Hund schläft gern."),
        ("दिल्ली की जनसंख्या", "दिल्ली में जनसंख्या बढ़ रही है", "बिल्ली चटाई पर सोती है"),
    ],
)
def test_scripts_with_and_without_blanks(question: str, answer: str, other: str) -> None:
    q, a, o = HashEmbedder().embed_many([question, answer, other])
    assert q @ a > q @ o + 0.1


def test_case_and_compatibility_forms_do_not_matter() -> None:
    model = HashEmbedder()
    np.testing.assert_array_equal(model.embed("ﬁne Café"), model.embed("FINE CAFE\u0301"))


def test_function_words_hardly_count() -> None:
    model = HashEmbedder()
    plain, wordy = model.embed_many(["memory index", "what is the memory of an index"])
    assert plain @ wordy > 0.8


def test_a_text_without_content_gives_zeros_and_punctuation_does_not() -> None:
    out = HashEmbedder().embed_many(["", " \n\t", "?!", "..."])
    assert not out[:2].any()
    np.testing.assert_allclose(np.linalg.norm(out[2:], axis=1), 1, rtol=1e-6)
    assert out[2] @ out[3] < 0.5


def test_a_long_text_equals_itself_computed_by_a_fresh_model() -> None:
    text = " ".join(f"word{n}" for n in range(5000))
    used = HashEmbedder(cache_bytes=0)
    used.embed("short")
    first = used.embed(text)
    np.testing.assert_array_equal(used.embed(text), first)
    np.testing.assert_array_equal(HashEmbedder().embed(text), first)


def test_dimension() -> None:
    assert apply_embedding_model("hash").get_dim() == 768
    assert apply_embedding_model("hash", dim=384).embed("x").shape == (384,)
    with pytest.raises(ConfigError, match="8 to 65536, got 4"):
        HashEmbedder(dim=4)


@given(st.text(max_size=80))
def test_any_text_gives_a_unit_or_zero_vector(text: str) -> None:
    vector = HashEmbedder(dim=32, cache_bytes=0).embed(text)
    norm = float(np.linalg.norm(vector))
    assert np.isfinite(vector).all()
    assert norm == pytest.approx(1, abs=1e-5) or (norm == 0 and len(text.split()) <= 8)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8))
def test_a_batch_gives_what_single_calls_give(texts: list[str]) -> None:
    model = HashEmbedder(dim=64, cache_bytes=0)
    np.testing.assert_array_equal(
        model.embed_many(texts, batch_size=3), np.stack([model.embed(text) for text in texts])
    )
