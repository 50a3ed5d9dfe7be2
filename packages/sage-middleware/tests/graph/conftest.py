from __future__ import annotations

import pytest

from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)


@pytest.fixture
def graph(tmp_path):
    folder = tmp_path / "graph"
    folder.mkdir()
    with GraphMemoryCollection.create(folder, name="graph", description="d") as made:
        yield made


@pytest.fixture
def reopen():
    opened = []

    def again(collection, **options):
        collection.close()
        opened.append(
            GraphMemoryCollection.connect(collection.path, name=collection.name, **options)
        )
        return opened[-1]

    yield again
    for collection in opened:
        collection.close()
