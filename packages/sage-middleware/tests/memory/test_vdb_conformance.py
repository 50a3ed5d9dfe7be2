"""The built-in vector collection keeps the public contract, with either scan engine."""

from __future__ import annotations

from sage.middleware.testing.memory_backend import VectorBackendSuite


class TestVdb(VectorBackendSuite):
    backend = "VDB"


class TestVdbNumpyEngine(VectorBackendSuite):
    backend = "VDB"
    create_options = {"engine": "numpy"}
