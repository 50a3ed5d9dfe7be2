"""Reads safetensors files: a JSON header, then the tensors' bytes. No code is ever run.

Source: the format's description in the safetensors project.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError

_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
_MAX_HEADER = 100 * 2**20


@attrs.frozen
class Weights:
    """The float tensors of a file as float32, by name, and the SHA-256 of the file."""

    tensors: dict[str, npt.NDArray[np.float32]]
    sha256: str


def read_weights(path: Path) -> Weights:
    """Read a safetensors file.

    Args:
        path: The file; ``F16``, ``BF16`` and ``F64`` become float32, integer tensors are left out.

    Raises:
        ConfigError: The file is missing, torn, or not in this format.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"model weights {str(path)!r} cannot be read: {exc.strerror}") from exc
    try:
        header, start = _header(data)
        tensors = {
            name: _tensor(data, start, entry)
            for name, entry in header.items()
            if name != "__metadata__" and not entry["dtype"].startswith("I")
        }
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise ConfigError(
            f"{str(path)!r} is not a complete safetensors file: {exc}; copy it again"
        ) from exc
    return Weights(tensors, hashlib.sha256(data).hexdigest())


def _header(data: bytes) -> tuple[dict[str, dict[str, Any]], int]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(_MAX_HEADER, len(data) - 8):
        raise ValueError(f"header of {size} bytes in a file of {len(data)}")
    header = json.loads(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise TypeError("the header is not an object")
    return header, 8 + size


def _tensor(data: bytes, start: int, entry: dict[str, Any]) -> npt.NDArray[np.float32]:
    kind = np.dtype(_KINDS[entry["dtype"]])
    first, last = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if (
        not 0 <= first <= last <= len(data) - start
        or last - first != math.prod(shape) * kind.itemsize
    ):
        raise ValueError(f"tensor of shape {shape} at bytes {first} to {last}")
    flat = np.frombuffer(data, kind, math.prod(shape), start + first)
    if entry["dtype"] == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    # A no-op for float32 on little-endian machines: the views share the file's bytes.
    tensor: npt.NDArray[np.float32] = flat.astype(np.float32, copy=False).reshape(shape)
    return tensor
