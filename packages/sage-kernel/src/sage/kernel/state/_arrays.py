"""NumPy arrays and scalars in the plain form: any dtype without Python objects in it.

The layout (C or Fortran, read-only or not) is kept; a strided view becomes an array of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sage.kernel.state import _tags as tag

if TYPE_CHECKING:
    from sage.kernel.state._encoding import Walk


def is_array_type(kind: type) -> bool:
    """Whether a class of NumPy's is the array itself or a scalar."""
    return kind is np.ndarray or issubclass(kind, np.generic)


def has_plain_dtype(value: Any) -> bool:
    """Whether the bytes of an array or scalar say all about it."""
    dtype = value.dtype
    try:
        return not dtype.hasobject and read_dtype(dtype_descr(dtype)) == dtype
    except (TypeError, ValueError):
        return False


def write(walk: Walk, value: Any, depth: int) -> Any:
    """The plain form of an array or scalar with a plain dtype."""
    if type(value) is np.str_:  # whose own __str__ cuts trailing zeros
        return [tag.MARKS[tag.ARRAY_STR], walk.plain(str.__str__(value), depth)]
    if type(value) is np.bytes_:
        return [tag.MARKS[tag.ARRAY_BYTES], bytes(value)]
    dtype = walk.plain(dtype_descr(value.dtype), depth)
    if isinstance(value, np.generic):
        return [tag.MARKS[tag.ARRAY_SCALAR], dtype, value.tobytes()]
    flags = value.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return [
        tag.MARKS[tag.ARRAY],
        dtype,
        list(value.shape),
        order if flags.writeable else order.lower(),
        value.tobytes(order),
    ]


def dtype_descr(dtype: np.dtype[Any]) -> Any:
    """A dtype as plain data."""
    return np.lib.format.dtype_to_descr(dtype)


def read_dtype(descr: Any) -> np.dtype[Any]:
    """The dtype of plain data.

    Raises:
        ValueError: It holds Python objects.
    """
    dtype = np.lib.format.descr_to_dtype(descr)
    if dtype.hasobject:
        raise ValueError(f"an array of the dtype {dtype} holds Python objects")
    return dtype


def read_array(descr: Any, shape: list[int], order: str, data: bytes) -> Any:
    """The array with these bytes."""
    dtype = read_dtype(descr)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes are not an array of shape {shape} and dtype {dtype}")
    if data:
        layout: Any = order.upper()
        array = np.frombuffer(data, dtype).reshape(shape, order=layout).copy(order=layout)
    else:
        array = np.empty(shape, dtype)
    array.flags.writeable = order.isupper()
    return array


def read_scalar(descr: Any, data: bytes) -> Any:
    """The scalar with these bytes."""
    dtype = read_dtype(descr)
    if len(data) != dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are not a scalar of dtype {dtype}")
    return np.frombuffer(data, dtype)[0] if data else np.empty(1, dtype)[0]


def read_text(text: Any) -> Any:
    """A string or byte scalar; unlike an array's element it keeps trailing zeros."""
    return np.str_(text) if isinstance(text, str) else np.bytes_(text)
