"""The manager: the seed's steps, registers, names, federated search."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import PluginError
from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    CollectionNameError,
    CollectionNotFoundError,
    DimensionError,
    EmbeddingMismatchError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.memory_backend import DIM, KeywordModel

FIRST_STEPS = """
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

# Create memory manager with default or custom data directory
mgr = MemoryManager()

# Apply embedding model (supports various models including OpenAI, HuggingFace, etc.)
embedder = apply_embedding_model("default")  # or specify model like "openai" or "huggingface"
dim = embedder.get_dim()

# Create a vector database collection
col = mgr.create_collection(
    name="test_vdb",
    backend_type="VDB",                    # Vector Database
    description="Test vector database collection",
    embedding_model=embedder,
    dim=dim
)

# Add metadata fields for structured filtering
col.add_metadata_field("tag")
col.add_metadata_field("category")
col.add_metadata_field("source")

# Insert documents with associated metadata
col.insert("Artificial Intelligence is transforming industries worldwide", {
    "tag": "technology",
    "category": "AI",
    "source": "research_paper"
})
col.insert("Machine Learning algorithms learn from data patterns", {
    "tag": "technology",
    "category": "ML",
    "source": "textbook"
})
col.insert("Deep learning uses neural networks with multiple layers", {
    "tag": "technology",
    "category": "DL",
    "source": "tutorial"
})

# Create global index for all documents
col.create_index("global_index")

# Create filtered indexes based on metadata
col.create_index("ai_index", metadata_filter_func=lambda m: m.get("category") == "AI")
col.create_index("tech_index", metadata_filter_func=lambda m: m.get("tag") == "technology")

# Retrieve from global index
global_results = col.retrieve("What is artificial intelligence?", topk=3, index_name="global_index")

# Retrieve from filtered index
ai_results = col.retrieve("AI applications", topk=5, index_name="ai_index")

# Display results with similarity scores and metadata
for result in global_results:
    print(f"Text: {result['text']}")
    print(f"Metadata: {result['metadata']}")
    print(f"Score: {result.get('score', 'N/A')}")

# Save collection to persistent storage
mgr.store_collection()
print(f"Collection saved to: {mgr.data_dir}")

# List all available collections
available_collections = mgr.list_collections()
print(f"Available collections: {available_collections}")

# Create new manager instance
mgr2 = MemoryManager()

# Reconnect to existing collection (requires compatible embedding model)
embedder2 = apply_embedding_model("default")
col2 = mgr2.connect_collection("test_vdb", embedding_model=embedder2)

# Verify collection is loaded and functional
test_results = col2.retrieve("machine learning", topk=2, index_name="global_index")
print(f"Reconnected collection works: {len(test_results)} results found")
"""

LAST_STEPS = """
# Update existing documents
col.update("doc_id_1", "Updated content about AI and its applications", {"updated": True})

# Delete specific documents
col.delete("doc_id_2")

# Clear specific collection data
from sage.middleware.services.memory.memory_collection.vdb_collection import VDBMemoryCollection
VDBMemoryCollection.clear("test_vdb", mgr.data_dir)

# Clean up manager metadata
import os
manager_json = os.path.join(mgr.data_dir, "manager.json")
if os.path.exists(manager_json):
    os.remove(manager_json)
"""


def test_the_seeds_seven_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_MEMORY_DIR", str(tmp_path / "m"))
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(FIRST_STEPS, names)
    col = names["col"]
    assert len(names["global_results"]) == 3
    assert [r["metadata"]["category"] for r in names["ai_results"]] == ["AI"]
    assert names["global_results"][0]["metadata"]["category"] == "AI"
    assert "Reconnected collection works: 2 results found" in printed.getvalue()
    assert (Path(names["mgr"].data_dir) / "manager.json").exists()
    # The seed's snippet updates and deletes ids that it did not insert: a clear error.
    with pytest.raises(RowNotFoundError, match="doc_id_1"):
        exec(LAST_STEPS, names)
    col.insert("to be updated", {"category": "AI"}, id="doc_id_1")
    col.insert("to be deleted", {}, id="doc_id_2")
    exec(LAST_STEPS, names)
    assert MemoryManager().list_collections() == []
    names["mgr"].close()
    names["mgr2"].close()


def test_data_dir_by_argument_variable_and_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MemoryManager(tmp_path / "a").data_dir == str(tmp_path / "a")
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    assert MemoryManager().data_dir == str(tmp_path / "home" / "data" / "memory")
    monkeypatch.setenv("SAGE_MEMORY_DIR", str(tmp_path / "b"))
    assert MemoryManager().data_dir == str(tmp_path / "b")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_rename_and_delete(manager: MemoryManager) -> None:
    rows = manager.create_collection("old", dim=DIM, description="words")
    rows.insert("t", vector=np.ones(DIM))
    manager.create_collection("other")
    with pytest.raises(CollectionExistsError, match="other"):
        manager.rename_collection("old", "other")
    manager.rename_collection("old", "new")
    assert {c["name"]: c["description"] for c in manager.list_collections()} == {
        "new": "words",
        "other": "",
    }
    assert len(manager.get_collection("new")) == 1
    with pytest.raises(CollectionNotFoundError, match="'new'"):
        manager.connect_collection("old")
    manager.delete_collection("new")
    assert "new" not in manager
    assert not (Path(manager.data_dir) / "new").exists()


def test_the_register_is_made_again_from_the_directories(manager: MemoryManager) -> None:
    manager.create_collection("one", description="first")
    register = Path(manager.data_dir) / "manager.json"
    assert json.loads(register.read_text())["collections"][0]["name"] == "one"
    register.write_text("{broken")
    assert [c["description"] for c in manager.list_collections()] == ["first"]
    register.unlink()
    with MemoryManager(manager.data_dir) as again:
        assert len(again.get_collection("one")) == 0
        again.create_collection("two")
    names = [c["name"] for c in json.loads(register.read_text())["collections"]]
    assert names == ["one", "two"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a\0", "-x", "x" * 129, 5])
def test_names_that_cannot_be(manager: MemoryManager, name: str) -> None:
    with pytest.raises(CollectionNameError):
        manager.create_collection(name)
    assert manager.list_collections() == []


def test_wrong_creation_leaves_nothing(manager: MemoryManager) -> None:
    with pytest.raises(InvalidInputError, match="memory back end"):
        manager.create_collection("x", backend_type="Oracle")
    with pytest.raises(InvalidInputError, match="speed"):
        manager.create_collection("x", speed=11)
    with pytest.raises(InvalidInputError, match="metric"):
        manager.create_collection("x", metric="manhattan")
    with pytest.raises(DimensionError, match="leave dim out"):
        manager.create_collection("x", embedding_model=KeywordModel("m"), dim=5)
    assert manager.list_collections() == []
    assert [p.name for p in Path(manager.data_dir).iterdir() if p.is_dir()] == []


def test_federated_search_merges(manager: MemoryManager) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, DIM)).astype(np.float32)
    for part, name in enumerate(("a", "b")):
        rows = manager.create_collection(name, dim=DIM)
        slots = range(part, 40, 2)
        texts = [f"text {i}" for i in slots]
        rows.insert_many(texts, [{"i": i} for i in slots], vectors=vectors[part::2])
    query = rng.standard_normal(DIM).astype(np.float32)
    hits = manager.search(["a", "b"], topk=10, query_vector=query)
    points = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    assert [h["metadata"]["i"] for h in hits] == np.argsort(-points)[:10].tolist()
    assert {h["collection"] for h in hits} == {"a", "b"}
    assert hits[0]["score"] == hits[0]["collection_score"] == pytest.approx(points.max(), abs=1e-4)
    only = manager.search(None, topk=10, query_vector=query, where={"i": {"$lt": 4}})
    assert {h["metadata"]["i"] for h in only} == {0, 1, 2, 3}
    heavy = manager.search(
        ["a", "b"], topk=4, query_vector=query, merge="rrf", weights={"b": 100.0}
    )
    assert {h["collection"] for h in heavy} == {"b"}
    words = manager.search(["a", "b"], "text", topk=4, mode="bm25")
    assert [h["collection"] for h in words] == ["a", "b", "a", "b"]
    kv = manager.create_collection("kv", "KV", text_fields=["title"])
    kv.put("k", {"title": "text of a value"})
    manager.create_collection("notes").insert("a text", id="n")
    mixed = manager.search(["notes", "kv"], "text", topk=2)
    assert [(h["collection"], h["id"]) for h in mixed] == [("notes", "n"), ("kv", "k")]
    with pytest.raises(InvalidInputError, match="KV, whose search takes no 'mode'"):
        manager.search(["notes", "kv"], "text", mode="bm25")
    with pytest.raises(InvalidInputError, match="KV and Graph"):
        manager.search(["notes", "kv"], "text", merge="score")
    manager.create_collection("c", dim=DIM, metric="l2")
    with pytest.raises(InvalidInputError, match="rrf"):
        manager.search(["a", "c"], topk=4, query_vector=query, merge="score")
    with pytest.raises(CollectionNotFoundError):
        manager.search(["a", "nobody"], topk=4, query_vector=query)


def test_connecting_again_gives_the_open_collection(manager: MemoryManager) -> None:
    made = manager.create_collection("rows", embedding_model=KeywordModel("one"))
    made.insert("alpha")
    assert manager.connect_collection("rows") is made
    assert manager.connect_collection("rows", embedding_model=KeywordModel("one")) is made
    with pytest.raises(EmbeddingMismatchError, match="two"):
        manager.connect_collection("rows", embedding_model=KeywordModel("two"))
    assert made.retrieve("alpha")[0]["text"] == "alpha"
    other = manager.connect_collection("rows", busy_timeout=1.0)
    assert other is not made
    manager.close()
    assert made.closed
    assert other.closed


def test_an_installed_back_end_is_found_and_a_broken_one_named(
    manager: MemoryManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution as pip leaves it: metadata with entry points beside the module."""
    facts = tmp_path / "site" / "acme_memory-1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-memory\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(
        "[sage.memory_backends]\nacme = acme_memory:Rows\nbroken = acme_nowhere:Rows\n"
    )
    (tmp_path / "site" / "acme_memory.py").write_text(
        "from sage.middleware.services.memory.memory_collection import vdb_collection\n\n\n"
        "class Rows(vdb_collection.VDBMemoryCollection):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    rows = manager.create_collection("mine", backend_type="acme", dim=2)
    assert type(rows).__module__ == "acme_memory"
    manager.close()
    with MemoryManager(manager.data_dir) as again:
        assert type(again.connect_collection("mine")) is type(rows)
        with pytest.raises(PluginError, match="acme_nowhere"):
            again.create_collection("other", backend_type="broken")
        assert [c["backend"] for c in again.list_collections()] == ["acme"]
