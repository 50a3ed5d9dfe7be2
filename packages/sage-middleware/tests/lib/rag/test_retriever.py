import numpy as np
import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.retriever import BM25Retriever, DenseRetriever, HybridRetriever
from sage.lib.types import Document, Query
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

TEXTS = [
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "The Nile is a river in Africa.",
]


@pytest.fixture
def collection(tmp_path):
    model = apply_embedding_model("hash")
    with MemoryManager(tmp_path) as manager:
        made = manager.create_collection("facts", embedding_model=model, dim=model.get_dim())
        made.insert_many(TEXTS, [{"n": i} for i in range(3)], ids=["fr", "de", "nile"])
    return {"collection_name": "facts", "data_dir": str(tmp_path)}


def embed(text):
    return np.array([text.count("a") + 0.1, text.count("e"), len(text) / 50])


@pytest.mark.parametrize("cls", [DenseRetriever, BM25Retriever, HybridRetriever])
def test_a_collection_is_searched_in_every_mode(cls, collection, run_step):
    (found,) = run_step(cls({**collection, "top_k": 2}), "What is the capital of France?")
    assert found.passages[0].id == "fr"
    assert found.passages[0].metadata == {"n": 0}
    assert len(found.passages) == 2
    scores = [d.score for d in found.passages]
    assert scores == sorted(scores, reverse=True)


def test_filters_and_thresholds(collection, run_step):
    dense = {**collection, "top_k": 3}
    (found,) = run_step(DenseRetriever({**dense, "where": {"n": {"$gt": 0}}}), "capital of France")
    assert {d.id for d in found.passages} == {"de", "nile"}
    (none,) = run_step(DenseRetriever({**dense, "similarity_threshold": 0.999}), "capital")
    assert none.passages == ()
    (mode,) = run_step(DenseRetriever({**dense, "mode": "bm25"}), "Nile")
    assert [d.id for d in mode.passages] == ["nile"]


class Memory:
    """What a retriever needs of the service ``memory_service``."""

    def __init__(self, data_dir):
        self._manager = MemoryManager(data_dir)
        self.asked = 0

    def list_collections(self):
        return self._manager.list_collections()

    def retrieve(self, name, query, **options):
        self.asked += 1
        return self._manager.connect_collection(name).retrieve(query, **options)

    def close(self):
        self._manager.close()


def test_the_memory_service_of_the_job_is_used_when_there_is_one(collection):
    memory, sink = Memory(collection["data_dir"]), MemorySink()
    env = LocalEnvironment("service")
    env.register_service("memory_service", memory)
    env.from_collection(["capital of France", "Nile"]).map(
        HybridRetriever, {"collection_name": "facts", "top_k": 1}
    ).sink(sink)
    env.submit().wait()
    memory.close()
    assert [found.passages[0].id for found in sink.items] == ["fr", "nile"]
    assert memory.asked == 2


def test_a_missing_collection_says_how_to_make_it(collection, context):
    retriever = DenseRetriever({**collection, "collection_name": "knowledge_base"})
    with pytest.raises(ConfigError, match=r"'knowledge_base'.*'facts'.*create_collection"):
        retriever.open(context())


def test_a_collection_can_be_opened_again_after_close(collection, run_step):
    retriever = DenseRetriever(collection)
    assert run_step(retriever, "France") and run_step(retriever, "France")


@pytest.mark.parametrize("cls", [DenseRetriever, BM25Retriever, HybridRetriever])
def test_documents_given_directly(cls, run_step):
    retriever = cls({"documents": TEXTS, "ids": ["fr", "de", "nile"], "embed": embed, "top_k": 2})
    (found,) = run_step(retriever, {"question": "the river Nile", "id": "1"})
    assert found.query == Query(text="the river Nile", id="1")
    assert 1 <= len(found.passages) <= 2
    if cls is not DenseRetriever:
        assert found.passages[0].id == "nile"


def test_dense_scores_are_exact_cosines(run_step):
    vectors = [embed(text) for text in TEXTS]
    retriever = DenseRetriever({"documents": TEXTS, "vectors": vectors, "embed": embed, "top_k": 3})
    (found,) = run_step(retriever, "an example")
    question = embed("an example")
    expected = sorted(
        (float(v @ question / np.linalg.norm(v) / np.linalg.norm(question)) for v in vectors),
        reverse=True,
    )
    assert [d.score for d in found.passages] == pytest.approx(expected, abs=1e-6)


def test_a_corpus_file_and_a_folder(tmp_path, run_step):
    lines = tmp_path / "corpus.jsonl"
    lines.write_text('{"id": "x", "text": "The Nile flows."}\n', encoding="utf-8")
    (found,) = run_step(BM25Retriever({"documents": str(lines)}), "Nile")
    assert [d.id for d in found.passages] == ["x"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("The Nile flows.", encoding="utf-8")
    (found,) = run_step(BM25Retriever({"documents": str(tmp_path / "docs")}), "Nile")
    assert [d.id for d in found.passages] == ["a.md"]


def test_equality_filters_work_on_given_documents(run_step):
    documents = [Document(id=str(n), text="same words", metadata={"n": n}) for n in range(3)]
    (found,) = run_step(BM25Retriever({"documents": documents, "where": {"n": 2}}), "words")
    assert [d.id for d in found.passages] == ["2"]


@pytest.mark.parametrize(
    ("config", "message"),
    [({}, "exactly one"), ({"collection_name": "a", "documents": []}, "exactly one"),
     ({"documents": ["a"], "top_k": 0}, "top_k"), ({"documents": ["a"], "mode": "magic"}, "mode"),
     ({"collection_name": "a", "topk": 3}, "top_k")],
)  # fmt: skip
def test_settings_are_checked_when_it_is_made(config, message):
    with pytest.raises(ConfigError, match=message):
        DenseRetriever(config)


def test_vectors_must_fit_the_documents(context):
    retriever = DenseRetriever({"documents": TEXTS, "vectors": [[1.0]], "embed": embed})
    with pytest.raises(ConfigError, match="shape"):
        retriever.open(context())
