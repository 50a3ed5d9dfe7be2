"""The contract every model shares, shown on a model that counts its calls."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError, ServiceError
from sage.middleware.utils.embedding import EmbeddingModel
from sage.middleware.utils.embedding.model import Kind


class Recorder(EmbeddingModel):
    """Embeds a text as (length, 1, 0); records every batch."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(name="recorder", dim=3, **settings)
        self.batches: list[list[str]] = []
        self.broken: Any = None

    @property
    def fingerprint(self) -> str:
        return f"recorder{self._prefix_mark()}"

    def _encode(self, texts: Sequence[str], kind: Kind) -> Any:
        self.batches.append(list(texts))
        if self.broken is not None:
            return self.broken
        return np.array([[len(text), 1, 0] for text in texts], np.float64)


def test_rows_come_in_the_order_given_normalised_and_float32() -> None:
    model = Recorder()
    out = model.embed_many(["ccc", "a", "bb"])
    assert out.dtype == np.float32
    assert out.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(out[:, 0] / out[:, 1], [3, 1, 2], rtol=1e-6)


def test_batches_hold_texts_of_similar_length() -> None:
    model = Recorder()
    model.embed_many(["a" * n for n in (5, 50, 6, 51, 7, 52)], batch_size=3)
    assert [sorted(map(len, batch)) for batch in model.batches] == [[50, 51, 52], [5, 6, 7]]


def test_a_repetition_is_computed_once_and_a_second_call_not_at_all() -> None:
    model = Recorder()
    first = model.embed_many(["x", "yy", "x"])
    second = model.embed_many(["yy", "x"])
    assert model.batches == [["yy", "x"]]
    np.testing.assert_array_equal(first[[1, 0]], second)
    assert model.usage.texts == 5
    assert model.usage.cached == 3
    assert model.usage.batches == 1


def test_changing_an_answer_does_not_change_the_cache() -> None:
    model = Recorder()
    model.embed("x")[:] = 9
    model.embed_many(["x"])[:] = 9
    assert model.embed("x")[0] < 1


def test_the_cache_can_be_off() -> None:
    model = Recorder(cache_bytes=0)
    model.embed("x")
    model.embed("x")
    assert len(model.batches) == 2


def test_questions_and_documents_are_kept_apart_where_their_prefixes_differ() -> None:
    model = Recorder(query_prefix="ask: ")
    question, document = model.embed("x", kind="query"), model.embed("x")
    assert model.batches == [["ask: x"], ["x"]]
    assert not np.array_equal(question, document)
    assert "query_prefix='ask: '" in model.fingerprint
    assert model.spec == {"name": "recorder", "query_prefix": "ask: "}
    alike = Recorder()
    alike.embed("x", kind="query")
    alike.embed("x")
    assert len(alike.batches) == 1


def test_nothing_gives_no_rows() -> None:
    assert Recorder().embed_many([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("texts", "words"),
    [("abc", "got one str"), (["a", 3], "text 1 must be a str, got int"), ([None], "NoneType")],
)
def test_what_is_no_list_of_texts_is_refused(texts: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Recorder().embed_many(texts)


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Recorder().embed_many(["a"], batch_size=0)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Recorder(batch_size=0)


@pytest.mark.parametrize(
    "broken", [np.ones((2, 3)), np.ones(3), np.ones((1, 4)), np.array([[1, np.nan, 0]])]
)
def test_a_wrong_answer_is_an_error_and_not_cached(broken: Any) -> None:
    model = Recorder()
    model.broken = broken
    with pytest.raises(ServiceError, match="recorder"):
        model.embed("x")
    model.broken = None
    assert model.embed("x")[1] > 0


def test_the_disk_cache_outlives_the_model_and_knows_models_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "cache.db")
    with Recorder(cache_path=path) as model:
        kept = model.embed_many(["x", "yy"])
    with Recorder(cache_path=path) as model:
        np.testing.assert_array_equal(model.embed_many(["x", "yy"]), kept)
        assert model.batches == []
        assert model.usage.cached == 2
    with Recorder(cache_path=path, document_prefix="other") as model:
        model.embed("x")
        assert model.batches == [["otherx"]]


def test_threads_share_a_model() -> None:
    model = Recorder()
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            texts = ["a" * (1 + (seed * 7 + i) % 40) for i in range(60)]
            out = model.embed_many(texts, batch_size=4)
            np.testing.assert_allclose(out[:, 0] / out[:, 1], [len(t) for t in texts], rtol=1e-5)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert model.usage.texts == 480


def test_concurrent_batches_give_the_same_as_one_after_another() -> None:
    texts = ["a" * n for n in range(1, 40)]
    np.testing.assert_array_equal(
        Recorder(concurrency=5).embed_many(texts, batch_size=2), Recorder().embed_many(texts)
    )


@given(st.lists(st.text(max_size=12), max_size=30), st.integers(1, 7))
def test_batching_and_caching_change_nothing(texts: list[str], size: int) -> None:
    model = Recorder(cache_bytes=2000)
    expected = np.array([[len(t), 1, 0] for t in texts], np.float32).reshape(-1, 3)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for _ in range(2):
        np.testing.assert_allclose(model.embed_many(texts, batch_size=size), expected, rtol=1e-6)
