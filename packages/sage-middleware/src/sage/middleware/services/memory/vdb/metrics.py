"""Similarity measures; a greater score is always better.

- ``cosine``: cosine of the angle, -1 to 1. Vectors are stored normalised; zero vectors score 0.
- ``dot``: inner product, unbounded. Vectors are stored as given.
- ``l2``: ``1 / (1 + distance)`` of the Euclidean distance, 0 (exclusive) to 1.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.errors import DimensionError, InvalidInputError

FloatArray = npt.NDArray[np.float32]
Metric = Literal["cosine", "dot", "l2"]
METRICS: tuple[str, ...] = get_args(Metric)


def check_metric(metric: str) -> Metric:
    """The metric, if it is one."""
    if metric not in METRICS:
        raise InvalidInputError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}")
    return metric  # type: ignore[return-value]


def check_vectors(vectors: object, dim: int | None, rows: int | None = None) -> FloatArray:
    """``vectors`` as ``(n, dim)`` finite float32.

    Raises:
        DimensionError: Another number of elements than ``dim``.
        InvalidInputError: Not numbers, not finite, or not one vector per row.
    """
    array = _as_floats(vectors)
    if array.ndim != 2:
        raise InvalidInputError(
            f"vectors must form a table (rows, dimension), got shape {array.shape}"
        )
    if rows is not None and len(array) != rows:
        raise InvalidInputError(f"got {len(array)} vectors for {rows} texts")
    if dim is not None and array.shape[1] != dim:
        raise DimensionError(
            f"a vector has {array.shape[1]} elements, the collection's vectors have {dim}",
            found=array.shape[1],
            expected=dim,
        )
    if array.shape[1] == 0:
        raise DimensionError("a vector has no elements", found=0, expected=dim)
    # One product finds inf and nan without a temporary of the array's size.
    flat = array.ravel()
    if not math.isfinite(flat @ flat) and not np.isfinite(array).all():
        raise InvalidInputError("a vector holds inf or nan")
    return array


def check_vector(vector: object, dim: int | None) -> FloatArray:
    """``vector`` as ``(dim,)`` finite float32."""
    array = _as_floats(vector)
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1:
        raise InvalidInputError(f"a query vector has one axis, got shape {array.shape}")
    checked: FloatArray = check_vectors(array[None], dim)[0]
    return checked


def _as_floats(vectors: object) -> FloatArray:
    try:
        array: FloatArray = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(f"vectors must be numbers of one length: {exc}") from exc
    return array


def to_stored(metric: Metric, vectors: FloatArray) -> FloatArray:
    """What is written to the vector file."""
    if metric != "cosine":
        return vectors
    if len(vectors) == 1:
        return to_query(metric, vectors[0])[None]
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if np.abs(norms - 1).max(initial=0) < 1e-6:
        return vectors
    norms[norms == 0] = 1
    scaled: FloatArray = vectors / norms[:, None]
    return scaled


def to_query(metric: Metric, vector: FloatArray) -> FloatArray:
    """The query as ``scores`` wants it."""
    if metric != "cosine":
        return vector
    square = float(vector @ vector)
    if abs(square - 1) < 1e-6 or square == 0:
        return vector
    unit: FloatArray = vector / np.float32(square**0.5)
    return unit


def scores(metric: Metric, rows: FloatArray, query: FloatArray) -> FloatArray:
    """Scores of ``(n, dim)`` stored rows, ``(n,)`` float32."""
    # Not `@`: the threads of a BLAS wait for each other actively; for 5,000 rows that costs three
    # times the CPU of the product.
    dots: FloatArray = np.einsum("ij,j->i", rows, query)
    if metric == "l2":
        squares = np.einsum("ij,ij->i", rows, rows) - 2 * dots + query @ query
        near: FloatArray = 1 / (1 + np.sqrt(np.maximum(squares, 0)))
        return near
    return dots
