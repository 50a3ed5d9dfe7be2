"""Passages into a vector collection of the memory manager."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sage.lib.types import Document
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.utils.embedding.embedding_api import EmbeddingModel


def build_collection(passages: Sequence[Document], data_dir: Path, model: EmbeddingModel) -> str:
    """Make the collection of ``passages``, unless it is there already; returns its name.

    The name holds a hash of the passages and the embedding model, so that a changed document gives
    another collection and an unchanged folder is not embedded again.
    """
    digest = hashlib.blake2b(model.fingerprint.encode(), digest_size=6)
    for passage in passages:
        digest.update(f"\0{passage.id}\0{passage.text}".encode("utf-8", "surrogatepass"))
    name = f"qa-{digest.hexdigest()}"
    with MemoryManager(data_dir) as manager:
        if manager.has_collection(name):
            return name
        collection = manager.create_collection(
            name,
            backend_type="VDB",
            description=f"qa: {len(passages)} passages",
            embedding_model=model,
            dim=model.get_dim(),
        )
        collection.insert_many(
            [passage.text for passage in passages],
            [dict(passage.metadata) for passage in passages],
            ids=[passage.id for passage in passages],
        )
    return name
