"""BERT encoders from their published files, run by onnxruntime: no torch, no exporter, no ``onnx``.

Reading order: ``weights`` (safetensors) → ``config`` → ``graph`` (the ONNX graph; ``protobuf``
writes its bytes, ``quantise`` makes int8 weights) → ``minilm`` (the embedding model).
"""

from sage.middleware.utils.embedding.bert.config import BertConfig
from sage.middleware.utils.embedding.bert.graph import build_graph
from sage.middleware.utils.embedding.bert.minilm import MiniLMEmbedder

__all__ = ["BertConfig", "MiniLMEmbedder", "build_graph"]
