"""A tiny random BERT, its slow forward pass in NumPy, and an embedding server on loopback."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORDS = """the a cat dog sat ran on mat in house red blue small big and then slept ##s
    ##ing""".split()  # noqa: SIM905  # a vocabulary reads better as one text
VOCABULARY = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
SHAPE = {
    "model_type": "bert",
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 48,
    "intermediate_size": 96,
    "max_position_embeddings": 24,
    "vocab_size": len(VOCABULARY),
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def save_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, body = {}, b""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    for name, values in tensors.items():
        data = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": kinds[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)


def random_bert(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    hidden, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    out: dict[str, np.ndarray] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        out[f"{name}.weight"] = draw.normal(0, 0.15, (rows, columns))
        out[f"{name}.bias"] = draw.normal(0, 0.1, rows)

    def norm(name: str) -> None:
        out[f"{name}.weight"] = draw.normal(1, 0.1, hidden)
        out[f"{name}.bias"] = draw.normal(0, 0.1, hidden)

    for table, rows in (
        ("word", SHAPE["vocab_size"]),
        ("position", SHAPE["max_position_embeddings"]),
        ("token_type", 2),
    ):
        out[f"embeddings.{table}_embeddings.weight"] = draw.normal(0, 0.5, (rows, hidden))
    norm("embeddings.LayerNorm")
    for layer in range(SHAPE["num_hidden_layers"]):
        path = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{path}.attention.self.{part}", hidden, hidden)
        linear(f"{path}.attention.output.dense", hidden, hidden)
        norm(f"{path}.attention.output.LayerNorm")
        linear(f"{path}.intermediate.dense", inner, hidden)
        linear(f"{path}.output.dense", hidden, inner)
        norm(f"{path}.output.LayerNorm")
    return {name: values.astype(np.float32) for name, values in out.items()}


def numpy_forward(weights: dict[str, np.ndarray], ids: list[int], heads: int) -> np.ndarray:
    """Token vectors ``(tokens, hidden)`` of one text in float64, as the BERT paper has it."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    erf = np.vectorize(math.erf)
    x = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][: len(ids)]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm")
    layers = 1 + max(int(n.split(".")[2]) for n in w if n.startswith("encoder.layer."))
    for layer in range(layers):
        path = f"encoder.layer.{layer}"
        split = [
            linear(x, f"{path}.attention.self.{p}").reshape(len(ids), heads, -1).swapaxes(0, 1)
            for p in ("query", "key", "value")
        ]
        scores = split[0] @ split[1].swapaxes(1, 2) / math.sqrt(split[0].shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ split[2]).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(
            x + linear(mixed, f"{path}.attention.output.dense"),
            f"{path}.attention.output.LayerNorm",
        )
        inner = linear(x, f"{path}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{path}.output.dense"), f"{path}.output.LayerNorm")
    return x


def save_tokenizer(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture
def write_safetensors() -> Callable[[Path, dict[str, np.ndarray]], None]:
    return save_safetensors


@pytest.fixture
def bert_weights() -> dict[str, np.ndarray]:
    return random_bert()


@pytest.fixture
def bert_folder(tmp_path: Path, bert_weights: dict[str, np.ndarray]) -> Path:
    folder = tmp_path / "tiny-bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPE))
    save_safetensors(folder / "model.safetensors", bert_weights)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def forward() -> Callable[[dict[str, np.ndarray], list[int], int], np.ndarray]:
    return numpy_forward


def vector_of(text: str, dim: int) -> list[float]:
    """What the loopback server answers: counts of letters, so that it depends on the text alone."""
    counts = np.zeros(dim, np.float32)
    for letter in text.encode():
        counts[letter % dim] += 1
    return [float(value) for value in counts]


class EmbeddingServer:
    """Speaks the protocols of OpenAI, Jina, Cohere and Ollama; keeps what it was asked."""

    def __init__(self) -> None:
        self.dim = 16
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        self.ignore_base64 = False
        self.answer: Callable[[dict[str, Any]], Any] | None = None
        self.connections = 0
        self.lock = threading.Lock()
        self.url = ""

    def texts(self) -> list[list[str]]:
        return [body.get("input") or body["texts"] for _, body, _ in self.requests]

    def respond(self, path: str, body: dict[str, Any]) -> Any:
        if self.answer is not None:
            return self.answer(body)
        texts = body.get("input") or body.get("texts")
        dim = body.get("dimensions") or body.get("output_dimension") or self.dim
        rows: list[Any] = [vector_of(text, dim) for text in texts]
        if path == "/v2/embed":
            return {"embeddings": {"float": rows}, "meta": {"billed_units": {"input_tokens": 7}}}
        if path == "/api/embed":
            return {"model": body["model"], "embeddings": rows, "prompt_eval_count": 5}
        if body.get("encoding_format") == "base64" and not self.ignore_base64:
            rows = [base64.b64encode(np.array(row, "<f4").tobytes()).decode() for row in rows]
        data = [{"object": "embedding", "index": i, "embedding": r} for i, r in enumerate(rows)]
        # Out of order on purpose: the index counts.
        return {"data": data[::-1], "usage": {"prompt_tokens": 3 * len(texts)}}


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            with state.lock:
                state.connections += 1
            super().setup()

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(data)
            with state.lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                state.requests.append((self.path, body, headers))
                failure = state.failures.pop(0) if state.failures else None
            if failure is not None:
                status, extra, answer = failure
                if status == 0:
                    self.close_connection = True
                    return
            else:
                status, extra = 200, {}
                answer = json.dumps(state.respond(self.path, body)).encode()
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    state.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    running.shutdown()
    thread.join()
    running.server_close()
