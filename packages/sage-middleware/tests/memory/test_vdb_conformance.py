"""The built-in vector collection keeps the public contract, with either scan engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sage.middleware.testing.memory_backend import VectorBackendSuite


class TestVdb(VectorBackendSuite):
    backend = "VDB"


class TestVdbNumpyEngine(VectorBackendSuite):
    backend = "VDB"
    create_options: ClassVar[Mapping[str, Any]] = {"engine": "numpy"}
