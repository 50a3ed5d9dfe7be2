"""Clients against a real HTTP server on loopback that speaks the providers' protocols."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError, ModelError
from sage.middleware.utils.embedding import EmbeddingModel, apply_embedding_model

KEYS = ("OPENAI_API_KEY", "JINA_API_KEY", "CO_API_KEY", "COHERE_API_KEY", "OLLAMA_HOST")
TEXTS = ["alpha", "beta beta", "gamma delta epsilon"]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def make(server: Any, name: str = "openai", **settings: Any) -> EmbeddingModel:
    url = server.url + ("/v1" if name in ("openai", "jina") else "")
    model = {"model": "tiny"} if name == "ollama" else {}
    return apply_embedding_model(name, base_url=url, **model, **settings)


def letters(texts: list[str], dim: int = 16) -> np.ndarray:
    out = np.zeros((len(texts), dim), np.float32)
    for row, text in enumerate(texts):
        for letter in text.encode():
            out[row, letter % dim] += 1
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["openai", "ollama", "jina", "cohere"])
def test_every_protocol_gives_the_right_rows(server: Any, name: str) -> None:
    with make(server, name) as model:
        np.testing.assert_allclose(model.embed_many(TEXTS), letters(TEXTS), rtol=1e-5)
        assert model.get_dim() == 16
        assert model.usage.requests == 1
        assert model.usage.tokens > 0
        assert model.name == name


def test_openai_asks_as_documented(server: Any) -> None:
    model = make(server, dimensions=8, api_key="sk-test", headers={"X-Team": "a"})
    assert model.embed("x").shape == (8,)
    path, body, headers = server.requests[0]
    assert path == "/v1/embeddings"
    assert body == {
        "model": "text-embedding-3-small",
        "input": ["x"],
        "encoding_format": "base64",
        "dimensions": 8,
    }
    assert headers["authorization"] == "Bearer sk-test"
    assert headers["x-team"] == "a"
    assert "sk-test" not in repr(model) + str(model.spec) + model.fingerprint


def test_numbers_are_read_when_a_server_does_not_know_base64(server: Any) -> None:
    server.ignore_base64 = True
    np.testing.assert_allclose(make(server).embed_many(TEXTS), letters(TEXTS), rtol=1e-5)
    make(server, encoding="float").embed("x")
    assert server.requests[-1][1]["encoding_format"] == "float"


def test_questions_and_documents_are_told_apart(server: Any) -> None:
    for name, field, roles in (
        ("jina", "task", ["retrieval.passage", "retrieval.query"]),
        ("cohere", "input_type", ["search_document", "search_query"]),
    ):
        model = make(server, name)
        model.embed("x")
        model.embed("x", kind="query")
        assert [body[field] for _, body, _ in server.requests[-2:]] == roles
    make(server, "jina", model="jina-embeddings-v2-base-en").embed("x")
    assert "task" not in server.requests[-1][1]


def test_ollama_and_cohere_fields(server: Any) -> None:
    make(server, "ollama", truncate=False, keep_alive="5m", dimensions=8).embed("x")
    assert server.requests[-1][:2] == (
        "/api/embed",
        {"model": "tiny", "input": ["x"], "truncate": False, "dimensions": 8, "keep_alive": "5m"},
    )
    make(server, "cohere", dimensions=8, truncate="START").embed("x")
    path, body, _ = server.requests[-1]
    assert path == "/v2/embed"
    assert (body["output_dimension"], body["truncate"]) == (8, "START")
    assert (body["texts"], body["embedding_types"]) == (["x"], ["float"])


def test_the_ollama_host_of_the_environment(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url.replace("http://127.0.0.1", "0.0.0.0"))
    assert apply_embedding_model("ollama", model="tiny").embed("x").shape == (16,)
    with pytest.raises(ConfigError, match="needs model="):
        apply_embedding_model("ollama")


def test_batches_by_count_and_by_tokens(server: Any) -> None:
    make(server, batch_size=4, concurrency=1).embed_many([f"text {n}" for n in range(10)])
    assert [len(texts) for texts in server.texts()] == [4, 4, 2]
    server.requests.clear()
    model = make(server, max_request_tokens=70)
    texts = [f"{n}" * 90 for n in range(5)]
    np.testing.assert_allclose(model.embed_many(texts), letters(texts), rtol=1e-5)
    assert [len(texts) for texts in server.texts()] == [2, 2, 1]


def test_concurrent_requests_keep_the_order_and_reuse_connections(server: Any) -> None:
    texts = [f"{n} " * (n % 9 + 1) for n in range(60)]
    with make(server, batch_size=3, concurrency=4) as model:
        np.testing.assert_allclose(model.embed_many(texts), letters(texts), rtol=1e-5)
    assert len(server.requests) == 20
    assert server.connections <= 4


def test_a_busy_server_is_asked_again_when_it_says(server: Any) -> None:
    server.failures = [(429, {"Retry-After": "0"}, b"{}"), (503, {"retry-after-ms": "1"}, b"")]
    model = make(server)
    np.testing.assert_allclose(model.embed_many(TEXTS), letters(TEXTS), rtol=1e-5)
    assert (model.usage.requests, model.usage.retries) == (3, 2)


def test_a_dropped_connection_is_made_again(server: Any) -> None:
    server.failures = [(0, {}, b"")]
    assert make(server).embed("x").shape == (16,)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_a_refusal_is_not_repeated_and_says_why(server: Any, status: int) -> None:
    answer = b'{"error": {"message": "no such thing", "type": "x"}}'
    server.failures = [(status, {}, answer)]
    with pytest.raises(ModelError, match=f"HTTP {status}.*no such thing") as caught:
        make(server).embed("x")
    assert caught.value.status == status
    assert len(server.requests) == 1


def test_a_used_up_quota_is_not_repeated(server: Any) -> None:
    server.failures = [(429, {}, b'{"error": {"message": "m", "code": "insufficient_quota"}}')]
    with pytest.raises(ModelError, match="429"):
        make(server).embed("x")
    assert len(server.requests) == 1


def test_a_server_that_keeps_failing_is_given_up(server: Any) -> None:
    server.failures = [(500, {"Retry-After": "0"}, b"boom")] * 3
    with pytest.raises(ModelError, match=r"HTTP 500.*boom.*gave up after 3 attempts"):
        make(server, max_retries=2).embed("x")
    assert len(server.requests) == 3


def test_what_was_paid_for_before_a_failure_is_cached(server: Any) -> None:
    model = make(server, batch_size=2, concurrency=1)
    texts = ["aaaaaa", "bbbbb", "cccc", "ddd"]
    model.embed_many(texts[:2])
    server.failures = [(400, {}, b"{}")]
    with pytest.raises(ModelError):
        model.embed_many(texts)
    model.embed_many(texts)
    assert server.texts()[-1] == ["cccc", "ddd"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"data": [{"embedding": [1.0, 2.0], "index": 0}] * 2}, "1 texts were sent and 2 vectors"),
        ({"data": [{"index": 0}]}, "not the expected shape.*embedding"),
        ({"models": []}, "not the expected shape"),
        ({"data": [{"embedding": "%%%"}]}, "not the expected shape"),
        ({"data": [{"embedding": [[1.0]]}]}, "not the expected shape"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(server: Any, answer: Any, words: str) -> None:
    server.answer = lambda body: answer
    with pytest.raises(ModelError, match=words):
        make(server).embed("x")


def test_blank_texts_are_not_sent(server: Any) -> None:
    out = make(server).embed_many(["", "x", "  "])
    assert server.texts() == [["x"]]
    assert not out[[0, 2]].any()
    assert out[1].any()


def test_keys(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in (
        ("openai", "OPENAI_API_KEY"),
        ("jina", "JINA_API_KEY"),
        ("cohere", "CO_API_KEY"),
    ):
        with pytest.raises(ConfigError, match=f"needs an API key: set {variable}"):
            apply_embedding_model(name)
    make(server).embed("x")
    assert "authorization" not in server.requests[-1][2]
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    make(server).embed("x")
    assert server.requests[-1][2]["authorization"] == "Bearer from-environment"
    monkeypatch.setenv("OTHER", "from-reference")
    model = make(server, api_key="env:OTHER")
    model.embed("x")
    assert server.requests[-1][2]["authorization"] == "Bearer from-reference"
    assert apply_embedding_model(**model.spec).fingerprint == model.fingerprint


def test_prefixes_are_sent(server: Any) -> None:
    model = make(server, query_prefix="query: ", document_prefix="passage: ")
    model.embed("x")
    model.embed("x", kind="query")
    assert server.texts() == [["passage: x"], ["query: x"]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "ftp://x"}, "http or https"),
        ({"base_url": "http://user:pw@x"}, "neither a user"),
        ({"batch_size": 5000}, "1 to 2048"),
        ({"concurrency": 0}, "concurrency must be above 0"),
        ({"requests_per_minute": -1}, "requests_per_minute must be above 0"),
        ({"encoding": "hex"}, "'base64' or 'float'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_embedding_model("openai", **{"api_key": "k", **settings})


def test_nobody_there_is_a_model_error(server: Any) -> None:
    with pytest.raises(ModelError, match="connection") as caught:
        apply_embedding_model("openai", base_url="http://127.0.0.1:1/v1", max_retries=1).embed("x")
    assert caught.value.status is None


def test_a_closed_model_says_so(server: Any) -> None:
    model = make(server)
    model.close()
    with pytest.raises(ConfigError, match="closed"):
        model.embed("x")


def test_threads_share_a_client(server: Any) -> None:
    model = make(server, cache_bytes=0)
    wrong: list[str] = []

    def work(number: int) -> None:
        texts = [f"{number} {n}" for n in range(10)]
        if not np.allclose(model.embed_many(texts), letters(texts), rtol=1e-5):
            wrong.append(texts[0])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert model.usage.requests == 8
