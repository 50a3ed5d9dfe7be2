"""int8 weights: one scale per output column, symmetric."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

# 7 bits: AVX2's multiply-add sums two products of uint8 and int8 in 16 bits, which 8-bit weights
# overflow. Source: onnxruntime's quantisation guide, "reduce_range".
LIMIT = 63


@attrs.frozen
class QuantisedMatrix:
    """``values * scales`` is near the matrix: ``(in, out)`` int8 and ``(out,)`` float32."""

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]


def quantise_columns(matrix: npt.NDArray[np.float32], limit: int = LIMIT) -> QuantisedMatrix:
    """Round each column to integers in ``-limit..limit``.

    Args:
        matrix: ``(in, out)`` float32.
        limit: Largest magnitude, at most 127.
    """
    largest = np.abs(matrix).max(axis=0)
    scales = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    values = np.rint(matrix / scales).astype(np.int8)
    return QuantisedMatrix(values, scales)
