"""``CollectionSink``: documents into a vector collection, each once."""

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import JobFailedError
from sage.lib.io.sink import CollectionSink
from sage.lib.io.source import FileChange
from sage.lib.rag.retriever import BM25Retriever
from sage.lib.types import Document
from sage.middleware.services.memory.errors import EmbeddingMismatchError
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.sinks import SinkSuite


@pytest.fixture
def make(tmp_path):
    def sink(**settings):
        config = {
            "collection_name": "c",
            "data_dir": str(tmp_path),
            "embedding": {"method": "hash"},
        }
        return CollectionSink({**config, **settings})

    return sink


@pytest.fixture
def written(tmp_path):
    def read():
        with MemoryManager(tmp_path) as manager:
            return list(manager.get_collection("c").scan())

    return read


class TestCollectionSink(SinkSuite):
    idempotent = True

    @pytest.fixture
    def make(self, make):
        return make

    @pytest.fixture
    def written(self, written):
        return written


def run(sink, *items, **options):
    env = LocalEnvironment("fill")
    env.from_collection(items).sink(sink, **options)
    env.submit().wait()


def passages(source, *texts):
    return [
        Document(
            id=f"{source}#{n}", text=text, metadata={"source": source}, parent_id=source,
            start=n, end=n + 1,
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip


def test_the_passages_of_a_source_are_replaced(make, written):
    run(make(replace_by="source"), passages("a", "x", "y", "z"), passages("b", "w"))
    run(make(replace_by="source"), passages("a", "new"), concurrency=8)
    assert {(row["id"], row["text"]) for row in written()} == {("a#0", "new"), ("b#0", "w")}


def test_a_removed_file_is_deleted(make, written):
    run(make(replace_by="source"), passages("a", "x"), passages("b", "w"))
    run(make(replace_by="source"), FileChange(id="a", path="", change="removed"))
    assert [row["id"] for row in written()] == ["b#0"]


def test_retrievers_give_the_place_back(make, tmp_path):
    run(make(), *passages("a", "green tea", "a river"))
    found = []
    env = LocalEnvironment("ask")
    config = {"collection_name": "c", "data_dir": str(tmp_path), "top_k": 1}
    env.from_collection(["river"]).map(BM25Retriever, config).sink(found.append)
    env.submit().wait()
    (passage,) = found[0].passages
    assert (passage.parent_id, passage.start, passage.end) == ("a", 1, 2)


def test_another_model_is_refused(make):
    run(make(), "text")
    with pytest.raises(JobFailedError) as caught:
        run(make(embedding={"method": "mock"}), "text")
    assert isinstance(caught.value.__cause__, EmbeddingMismatchError)


def test_mixed_sources_and_other_changes_are_refused(make):
    for item in (
        passages("a", "x") + passages("b", "y"),
        FileChange(id="a", path="a"),
        [Document(id="n", text="no source")],
    ):
        with pytest.raises(JobFailedError, match="replace_by"):
            run(make(replace_by="source"), item)
