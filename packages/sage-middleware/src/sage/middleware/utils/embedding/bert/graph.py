"""Builds the ONNX graph of a BERT encoder in onnxruntime's fused operators.

Inputs ``input_ids`` and ``attention_mask``, both ``(batch, tokens)`` int32; output ``embedding``,
``(batch, hidden)`` float32, pooled but not normalised (the mean lacks its division, which a
normalisation makes void). Operators: source: onnxruntime's ``ContribOperators`` reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.utils.embedding.bert import protobuf
from sage.middleware.utils.embedding.bert.config import ACTIVATIONS, BertConfig
from sage.middleware.utils.embedding.bert.quantise import quantise_columns

Precision = Literal["fp32", "int8"]
Tensors = Mapping[str, npt.NDArray[np.float32]]

OPSET = 17
FUSED = "com.microsoft"


def build_graph(config: BertConfig, tensors: Tensors, precision: Precision = "fp32") -> bytes:
    """Build the model.

    Args:
        config: The encoder's shape.
        tensors: Its weights under the names transformers gives them, with or without ``bert.``.
        precision: ``int8`` quantises the weights of every matrix product, one scale per column, and
            the activations at run time; everything else stays float32.

    Returns:
        The bytes of an ONNX ``ModelProto``.

    Raises:
        ConfigError: A tensor is missing or has another shape than the configuration says.
    """
    graph = _Graph(config, tensors, precision)
    x = graph.embeddings()
    for layer in range(config.layers):
        x = graph.layer(layer, x)
    graph.pool(x)
    return protobuf.model(
        nodes=graph.nodes,
        tensors=graph.constants,
        inputs=[
            protobuf.value_info(name, protobuf.INT32, ("batch", "tokens"))
            for name in ("input_ids", "attention_mask")
        ],
        outputs=[protobuf.value_info("embedding", protobuf.FLOAT, ("batch", config.hidden))],
        opsets={"": OPSET, FUSED: 1},
    )


class _Graph:
    """Nodes and constants so far. Every method appends and returns the name of its output."""

    def __init__(self, config: BertConfig, tensors: Tensors, precision: Precision) -> None:
        self.nodes: list[protobuf.Message] = []
        self.constants: list[protobuf.Message] = []
        self._config = config
        self._weights = {name.removeprefix("bert."): array for name, array in tensors.items()}
        self._int8 = precision == "int8"

    def embeddings(self) -> str:
        hidden = self._config.hidden
        table = self._weight(
            "embeddings.position_embeddings.weight", self._config.positions, hidden
        )
        # Every token is of type 0: the first row of the type table joins the positions.
        types = self._weight("embeddings.token_type_embeddings.weight", None, hidden)
        inputs = [
            "input_ids",
            "",
            self._constant(
                "words", self._weight("embeddings.word_embeddings.weight", None, hidden)
            ),
            self._constant("positions", table + types[0]),
            "",
            *self._norm("embeddings.LayerNorm"),
        ]
        self._node(
            "EmbedLayerNormalization", inputs, "x0", "x0.lengths", epsilon=self._config.epsilon
        )
        return "x0"

    def layer(self, number: int, x: str) -> str:
        path = f"encoder.layer.{number}."
        attended = self._attention(path + "attention.", x)
        y = self._residual(path + "attention.output", attended, x)
        inner = self._linear(path + "intermediate.dense", y)
        active = path + "active"
        bias = self._bias(path + "intermediate.dense")
        self._node(ACTIVATIONS[self._config.activation], [inner, bias], active)
        return self._residual(path + "output", active, y)

    def pool(self, x: str) -> None:
        if self._config.pooling == "cls":
            first = self._constant("first", np.zeros((), np.int64))
            self._node("Gather", [x, first], "embedding", domain="", axis=1)
            return
        self._node("Cast", ["attention_mask"], "mask", domain="", to=protobuf.FLOAT)
        axis = self._constant("axis", np.array([1], np.int64))
        self._node("Unsqueeze", ["mask", axis], "mask.row", domain="")
        self._node("MatMul", ["mask.row", x], "sum.row", domain="")
        self._node("Squeeze", ["sum.row", axis], "embedding", domain="")

    def _attention(self, path: str, x: str) -> str:
        hidden = self._config.hidden
        names = [f"{path}self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weight(f"{n}.weight", hidden, hidden).T for n in names], 1)
        bias = np.concatenate([self._weight(f"{n}.bias", hidden) for n in names])
        bias_name = self._constant(path + "qkv.bias", bias)
        out, heads = path + "attended", self._config.heads
        if not self._int8:
            inputs = [x, self._constant(path + "qkv", weight), bias_name, "attention_mask"]
            self._node("Attention", inputs, out, num_heads=heads)
            return out
        values, scales, zero = self._quantised(path + "qkv", weight)
        quantised = [f"{path}x.{part}" for part in ("values", "scale", "zero")]
        self._node("DynamicQuantizeLinear", [x], *quantised, domain="")
        inputs = [quantised[0], values, bias_name, quantised[1], scales]
        inputs += ["attention_mask", quantised[2], zero]
        self._node("QAttention", inputs, out, num_heads=heads)
        return out

    def _residual(self, path: str, x: str, skip: str) -> str:
        product, out = self._linear(path + ".dense", x), path + ".normed"
        inputs = [product, skip, *self._norm(path + ".LayerNorm"), self._bias(path + ".dense")]
        self._node("SkipLayerNormalization", inputs, out, epsilon=self._config.epsilon)
        return out

    def _linear(self, path: str, x: str) -> str:
        """A product without its bias, which the following operator adds."""
        weight, out = self._weight(path + ".weight", None, None).T, path + ".product"
        if self._int8:
            values, scales, zero = self._quantised(path, weight)
            self._node("DynamicQuantizeMatMul", [x, values, scales, zero], out)
        else:
            self._node("MatMul", [x, self._constant(path, weight)], out, domain="")
        return out

    def _quantised(self, name: str, weight: npt.NDArray[np.float32]) -> tuple[str, str, str]:
        matrix = quantise_columns(weight)
        zeros = np.zeros(len(matrix.scales), np.int8)
        return (
            self._constant(name + ".values", matrix.values),
            self._constant(name + ".scales", matrix.scales),
            self._constant(name + ".zeros", zeros),
        )

    def _norm(self, path: str) -> list[str]:
        hidden = self._config.hidden
        return [
            self._constant(f"{path}.{part}", self._weight(f"{path}.{part}", hidden))
            for part in ("weight", "bias")
        ]

    def _bias(self, path: str) -> str:
        return self._constant(path + ".bias", self._weight(path + ".bias", None))

    def _constant(self, name: str, values: protobuf.Tensor) -> str:
        self.constants.append(protobuf.tensor(name, values))
        return name

    def _node(
        self,
        operator: str,
        inputs: list[str],
        *outputs: str,
        domain: str = FUSED,
        **attributes: protobuf.Attribute,
    ) -> None:
        self.nodes.append(protobuf.node(operator, inputs, outputs, domain, attributes))

    def _weight(self, name: str, *shape: int | None) -> npt.NDArray[np.float32]:
        found = self._weights.get(name)
        if found is None:
            raise ConfigError(f"the model's weights lack {name!r}; is the file a BERT encoder's?")
        fits = len(found.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, found.shape, strict=True)
        )
        if not fits:
            raise ConfigError(
                f"the weight {name!r} has shape {found.shape}, config.json says {shape}"
            )
        return found
