"""Fixtures of the memory tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sage.middleware.services.memory.memory_manager import MemoryManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[MemoryManager]:
    """A manager on an empty directory."""
    with MemoryManager(tmp_path / "memory") as made:
        yield made


@pytest.fixture(scope="session")
def clustered() -> np.ndarray:
    """20,000 unit vectors of 64 elements in 200 clusters."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((200, 64))
    rows = centres[rng.integers(0, 200, 20_000)] + 0.6 * rng.standard_normal((20_000, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)
