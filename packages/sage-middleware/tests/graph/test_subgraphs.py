from __future__ import annotations

import pytest

from sage.middleware.services.memory.errors import (
    EmbeddingMismatchError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

PEOPLE = [
    ("ann", {"about": "a physicist who studies superconductors"}, "person"),
    ("bob", {"about": "plays the violin in an orchestra"}, "person"),
    ("lab", {"about": "low temperature laboratory"}, "place"),
    ("city", {"about": "a harbour town in the north"}, "place"),
    ("far", {"about": "nothing in particular"}, "thing"),
]
EDGES = [
    ("ann", "lab", {"since": 2019}, "works at", 1.0),
    ("lab", "city", {}, "lies in", 1.0),
    ("bob", "city", {}, "lives in", 1.0),
]


@pytest.fixture
def people(tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    with GraphMemoryCollection.create(
        folder,
        name="people",
        embedding_model="hash",
        text_fields=["about"],
        language="en",
    ) as made:
        made.add_nodes(PEOPLE)
        made.add_edges(EDGES)
        yield made


@pytest.mark.parametrize("entry", ["text", "vector", "hybrid", "auto"])
def test_text_leads_to_the_node(people, entry):
    assert people.search("superconductor physicist", topk=2, entry=entry)[0]["id"] == "ann"


def test_a_subgraph_has_the_entry_its_surroundings_and_the_edges_between(people):
    found = people.subgraph("superconductors", topk=1, entry="text")
    assert list(found.entries) == ["ann"]
    assert [node["id"] for node in found] == ["ann", "lab", "city", "bob"]
    scores = [node["score"] for node in found]
    assert scores == sorted(scores, reverse=True)
    assert {(e["source"], e["type"], e["target"]) for e in found.edges} == {
        (source, kind, target) for source, target, _, kind, _ in EDGES
    }
    small = people.subgraph("superconductors", topk=1, entry="text", max_nodes=2)
    assert [node["id"] for node in small] == ["ann", "lab"]
    assert [edge["properties"] for edge in small.edges] == [{"since": 2019}]
    assert len(people.subgraph("qqqq", entry="text")) == 0


def test_rows_as_other_collections_give_them(people):
    row = people.retrieve("violin orchestra", topk=2)[0]
    assert row["id"] == "bob"
    assert row["text"] == "bob\nplays the violin in an orchestra"
    assert row["metadata"]["label"] == "person"


def test_changes_are_found_at_once_also_by_other_handles(people):
    other = GraphMemoryCollection.connect(people.path, name="people")
    assert other.search("violin", entry="text")[0]["id"] == "bob"
    people.upsert_node("bob", about="paints landscapes")
    people.add_node("new", about="a violin maker")
    for graph in (people, other):
        assert [hit["id"] for hit in graph.search("violin", entry="text")] == ["new"]
        assert graph.search("violin maker", topk=1, entry="vector")[0]["id"] == "new"
    other.remove_node("new")
    for graph in (people, other):
        assert graph.search("violin", entry="text") == []
        assert all(hit["id"] != "new" for hit in graph.search("violin", entry="vector"))
    other.close()


def test_reopening_finds_model_index_and_vectors(people, reopen):
    again = reopen(people)
    assert again.search("superconductors", topk=1)[0]["id"] == "ann"
    assert again.list_indexes() == people.list_indexes()
    again.close()
    with pytest.raises(EmbeddingMismatchError):
        GraphMemoryCollection.connect(
            people.path,
            name="people",
            embedding_model=apply_embedding_model("hash", dim=64),
        )


def test_what_was_not_set_up_is_said(graph):
    graph.add_node("a")
    with pytest.raises(IndexNotFoundError, match="create_index"):
        graph.search("a")
    with pytest.raises(IndexNotFoundError, match="embedding_model"):
        graph.search("a", entry="vector")
    with pytest.raises(InvalidInputError, match="entry"):
        graph.search("a", entry="magic")
    graph.create_index()
    assert [hit["id"] for hit in graph.search("a")] == []  # a stop word
    graph.add_node("walrus")
    assert [hit["id"] for hit in graph.search("walruses")] == ["walrus"]
    graph.drop_index()
    with pytest.raises(IndexNotFoundError):
        graph.search("walrus")


def test_what_is_forgotten_is_in_no_file(people):
    people.add_node("xylophonist", about="secretword zanzibar")
    people.add_edge("xylophonist", "city", "hidesin", note="underthebridge")
    people.store()
    assert people.search("zanzibar", entry="text")[0]["id"] == "xylophonist"
    assert people.forget(["xylophonist"]) == 1
    for path in people.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for word in (b"xylophon", b"secretword", b"underthebridge", b"zanzibar", b"hidesin"):
                assert word not in content, path
    assert set(people.neighbors("city", "in")) == {"lab", "bob"}


def test_an_interrupted_forget_is_completed_at_open(people, reopen, monkeypatch):
    people.add_node("xylophonist", about="zanzibar")
    people.store()

    def crash(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(people), "_scrub", crash)
        with pytest.raises(KeyboardInterrupt):
            people.forget(["xylophonist"])
    again = reopen(people)
    for path in again.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"xylophon" not in content, path
            assert b"zanzibar" not in content, path


def test_loose_edges_are_found(people):
    assert people.check() == []
    assert people.optimize()["rows"] == len(people)
    with people._database.write() as connection:
        connection.execute("DELETE FROM nodes WHERE key = 'city'")
    assert "at a node that is not there" in people.check()[0]
