from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.middleware.services.memory import MemoryService

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A service on an empty directory with an embedding model that needs nothing."""
    return {"data_dir": str(tmp_path / "memory"), "embedding_model": "hash"}


@pytest.fixture
def service(config: dict[str, Any]) -> Iterator[MemoryService]:
    with MemoryService(config) as running:
        yield running
