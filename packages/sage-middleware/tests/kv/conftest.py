from __future__ import annotations

import pytest

from sage.middleware.services.memory.memory_collection.kv_collection import KVMemoryCollection


@pytest.fixture
def kv(tmp_path):
    folder = tmp_path / "kv"
    folder.mkdir()
    with KVMemoryCollection.create(folder, name="kv", description="d") as made:
        yield made


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timed_kv(tmp_path, clock):
    folder = tmp_path / "timed"
    folder.mkdir()
    with KVMemoryCollection.create(folder, name="timed", clock=clock) as made:
        yield made


def reopened(collection, **options):
    collection.close()
    return KVMemoryCollection.connect(collection.path, name=collection.name, **options)


@pytest.fixture
def reopen():
    opened = []

    def again(collection, **options):
        opened.append(reopened(collection, **options))
        return opened[-1]

    yield again
    for collection in opened:
        collection.close()
