"""GraphRetriever, ParentDocumentRetriever, MemoryRetriever, ChromaRetriever."""

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.retriever import (
    ChromaRetriever,
    GraphRetriever,
    MemoryRetriever,
    ParentDocumentRetriever,
)
from sage.lib.types import Document
from sage.middleware.services.memory.errors import FilterError
from sage.middleware.services.memory.memory_manager import MemoryManager


@pytest.fixture
def graph(tmp_path):
    with MemoryManager(tmp_path) as manager:
        made = manager.create_collection("facts", "Graph", text_fields=["about"])
        made.add_nodes(
            [
                ("nile", {"about": "a long river", "year": 1}, "place"),
                ("egypt", {"about": "a country", "year": 2}, "place"),
                ("cairo", {"about": "a capital", "year": 3}, "city"),
                ("rhine", {"about": "another stream", "year": 4}, "place"),
            ]
        )
        made.add_edge("nile", "egypt", "flows_through", weight=2.0)
        made.add_edge("cairo", "egypt", "capital_of")
        manager.create_collection("texts", "VDB")
    return {"collection_name": "facts", "data_dir": str(tmp_path)}


def found_ids(run_step, retriever, question="the long river"):
    (found,) = run_step(retriever, question)
    return [d.id for d in found.passages]


def test_pagerank_brings_the_neighbourhood_with_its_edges(graph, run_step):
    (found,) = run_step(GraphRetriever(graph), "the long river")
    assert [d.id for d in found.passages] == ["nile", "egypt", "cairo"]
    nile, egypt, _ = found.passages
    assert nile.text == "nile\na long river" and nile.metadata["label"] == "place"
    assert nile.metadata["edges"] == [
        {"source": "nile", "target": "egypt", "type": "flows_through", "weight": 2.0}
    ]
    assert {e["source"] for e in egypt.metadata["edges"]} == {"nile", "cairo"}
    assert nile.score > egypt.score > 0
    (bare,) = run_step(GraphRetriever({**graph, "edges": False, "top_k": 1}), "the long river")
    assert "edges" not in bare.passages[0].metadata and len(bare.passages) == 1


def test_hops_follow_direction_type_and_distance(graph, run_step):
    hops = {**graph, "expand": "hops", "hops": 2}
    (far,) = run_step(GraphRetriever(hops), "the long river")
    scores = {d.id: d.score for d in far.passages}
    assert list(scores) == ["nile", "egypt", "cairo"]
    assert scores["egypt"] == pytest.approx(scores["nile"] / 2)
    assert scores["cairo"] == pytest.approx(scores["nile"] / 4)
    assert found_ids(run_step, GraphRetriever({**hops, "direction": "out"})) == ["nile", "egypt"]
    only = GraphRetriever({**hops, "edge_types": ["capital_of"]})
    assert found_ids(run_step, only) == ["nile"]
    assert found_ids(run_step, GraphRetriever({**graph, "expand": "none"})) == ["nile"]


def test_graph_filters_do_not_stop_the_walk(graph, run_step):
    for expand in ("pagerank", "hops"):
        config = {**graph, "expand": expand, "hops": 2, "where": {"label": "city"}, "top_k": 1}
        assert found_ids(run_step, GraphRetriever(config)) == ["cairo"]
    item = {"question": "the long river", "where": {"year": {"$gte": 2}}}
    assert found_ids(run_step, GraphRetriever(graph), item) == ["egypt", "cairo"]


def through_a_job(operator, config, *items):
    sink = MemorySink()
    env = LocalEnvironment("structured")
    env.from_collection(list(items)).map(operator, config).sink(sink)
    env.submit().wait(60)
    return [{d.id: d.score for d in found.passages} for found in sink.items]


def test_a_step_keeps_of_the_score_what_decay_says(graph):
    hops = {**graph, "expand": "hops", "hops": 2}
    for decay in (1.0, 0.5, 0.1):
        (scores,) = through_a_job("GraphRetriever", {**hops, "decay": decay}, "the long river")
        assert scores["egypt"] == pytest.approx(scores["nile"] * decay)
        assert scores["cairo"] == pytest.approx(scores["nile"] * decay**2)
    for bad in (0, 1.1):
        with pytest.raises(ConfigError, match="decay"):
            GraphRetriever({**hops, "decay": bad})


def test_a_graph_is_entered_at_as_many_nodes_as_are_set(graph):
    question = "a long river, another stream"
    for expand, one, two in (
        ("none", {"nile"}, {"nile", "rhine"}),
        ("hops", {"nile", "egypt"}, {"nile", "egypt", "rhine"}),
        ("pagerank", {"nile", "egypt", "cairo"}, {"nile", "egypt", "cairo", "rhine"}),
    ):
        for count, expected in ((1, one), (2, two)):
            config = {**graph, "expand": expand, "entry_k": count}
            (scores,) = through_a_job("GraphRetriever", config, question)
            assert set(scores) == expected


def test_graph_errors_say_what_is_wrong(graph, context):
    with pytest.raises(ConfigError, match="backend_type='Graph'"):
        GraphRetriever({**graph, "collection_name": "texts"}).open(context())
    with pytest.raises(ConfigError, match="'hops'"):
        GraphRetriever({**graph, "edge_types": ["a"]})


def test_graph_and_parents_through_the_memory_service(graph, parents):
    for name, config, question, expected in [
        ("GraphRetriever", graph, "the long river", ["nile", "egypt", "cairo"]),
        ("ParentDocumentRetriever", parents, "alpha", ["A"]),
    ]:
        sink = MemorySink()
        env = LocalEnvironment("structured")
        env.set_memory({"data_dir": config["data_dir"]})
        rest = {k: v for k, v in config.items() if k != "data_dir"}
        env.from_collection([question]).map(name, rest).sink(sink)
        env.submit().wait()
        assert [d.id for d in sink.items[0].passages] == expected


PASSAGES = [
    Document(id=f"{parent}{n}", text=f"{words} number {n}", parent_id=parent)
    for parent, words in (("A", "alpha common"), ("B", "beta common"))
    for n in range(4)
]
WHOLE = [Document(id="A", text="all of alpha"), Document(id="B", text="all of beta")]


@pytest.fixture
def own():
    loose = Document(id="loose", text="gamma alone")
    lost = Document(id="lost", text="delta alone", parent_id="Z")
    return {"documents": [*PASSAGES, loose, lost], "parents": WHOLE, "mode": "bm25", "top_k": 5}


@pytest.fixture
def parents(tmp_path):
    with MemoryManager(tmp_path / "p") as manager:
        small = manager.create_collection("small", "VDB")
        small.insert_many(
            [d.text for d in PASSAGES],
            [{"parent_id": d.parent_id} for d in PASSAGES],
            ids=[d.id for d in PASSAGES],
        )
        manager.create_collection("large", "VDB").insert_many(
            [d.text for d in WHOLE], ids=[d.id for d in WHOLE]
        )
    return {"collection_name": "small", "parent_collection": "large", "mode": "bm25",
            "data_dir": str(tmp_path / "p"), "merge_threshold": 0.5}  # fmt: skip


def test_passages_become_their_parent_once(own, run_step):
    (found,) = run_step(ParentDocumentRetriever(own), "alpha")
    (parent,) = found.passages
    assert (parent.id, parent.text) == ("A", "all of alpha")
    assert sorted(parent.metadata["found"]) == ["A0", "A1", "A2", "A3"] and parent.score > 0
    (found,) = run_step(ParentDocumentRetriever(own), "gamma alone")
    assert {d.id for d in found.passages} == {"loose", "lost"}


@pytest.mark.parametrize(("fetch", "expected"), [(1, ["A0"]), (2, ["A"])])
def test_a_parent_needs_enough_of_its_passages(own, parents, run_step, fetch, expected):
    for config in ({**own, "merge_threshold": 0.5}, parents):
        retriever = ParentDocumentRetriever({**config, "fetch": fetch})
        assert found_ids(run_step, retriever, "alpha") == expected


@pytest.mark.parametrize("names", [("A", "B"), (1, 2)])
def test_the_parent_is_named_by_the_key_that_is_set(tmp_path, names):
    rows = [
        (f"{word} common number {n}", {"doc": name, "parent_id": "Z"})
        for name, word in zip(names, ("alpha", "beta"), strict=True)
        for n in range(4)
    ]
    whole = [Document(id=str(name), text=f"all of {name}") for name in names]
    with MemoryManager(tmp_path) as manager:
        small = manager.create_collection("small", "VDB")
        small.insert_many([text for text, _ in rows], [facts for _, facts in rows])
    passages = [{"text": text, "metadata": facts} for text, facts in rows]
    collected = {"collection_name": "small", "data_dir": str(tmp_path)}
    for where in (collected, {"documents": passages}):
        config = {**where, "mode": "bm25", "parents": whole, "parent_key": "doc", "fetch": 2}
        for least, found in ((0.0, 1), (0.5, 1), (0.75, 2)):
            (scores,) = through_a_job(
                "ParentDocumentRetriever", {**config, "merge_threshold": least}, "alpha"
            )
            assert (len(scores), str(names[0]) in scores) == (found, found == 1)


def test_scores_of_parents(own, run_step):
    scores = {}
    for kind in ("max", "sum", "mean"):
        (found,) = run_step(ParentDocumentRetriever({**own, "score": kind}), "alpha")
        scores[kind] = found.passages[0].score
    assert scores["sum"] == pytest.approx(4 * scores["mean"]) and scores["max"] < scores["sum"]


def test_parents_must_be_said_once(own):
    for bad in ({**own, "parents": None}, {**own, "parent_collection": "large"}):
        with pytest.raises(ConfigError, match="exactly one"):
            ParentDocumentRetriever(bad)


def test_memory_is_recalled_and_searched(tmp_path):
    def run(config, *items):
        sink = MemorySink()
        env = LocalEnvironment("memory")
        env.set_memory({"data_dir": str(tmp_path)})
        env.from_collection(list(items)).map(MemoryRetriever, {"mode": "bm25", **config}).sink(sink)
        env.submit().wait()
        return [[d.id for d in found.passages] for found in sink.items], sink.items

    from sage.middleware.services.memory.service import MemoryService

    service = MemoryService({"data_dir": str(tmp_path)})
    tea = service.remember("Ada likes green tea.", scope="ada")["id"]
    coffee = service.remember("Bob likes black coffee and tea.", scope="bob")["id"]
    for name in ("one", "two"):
        service.create_collection(name, "VDB").insert(f"tea of {name}", {"c": name}, id=name)
    service.close()

    (ids,), _ = run({"scope": "ada"}, "who likes tea")
    assert ids == [tea]
    asked = {"question": "who likes tea", "user": "bob"}
    (own_scope, default), _ = run({"scope": "ada", "scope_key": "user"}, asked, "likes tea")
    assert (own_scope, default) == ([coffee], [tea])
    (both,), (item,) = run({"tier": "search", "collections": ["one", "two"]}, "tea")
    assert set(both) == {"one", "two"}
    assert {d.metadata["collection"] for d in item.passages} == {"one", "two"}
    narrowed = {"question": "tea", "where": {"c": "two"}}
    (one,), _ = run({"tier": "search", "collections": ["one", "two"]}, narrowed)
    assert one == ["two"]


def test_a_session_cannot_store_again_what_it_was_shown(tmp_path):
    from sage.middleware.services.memory.service import MemoryService

    with MemoryService({"data_dir": str(tmp_path)}) as service:
        service.remember("Ada likes green tea.")

    def recall(item, **config):
        env = LocalEnvironment("memory")
        env.set_memory({"data_dir": str(tmp_path)})
        given = {"mode": "bm25", **config}
        env.from_collection([item]).map("MemoryRetriever", given).sink(MemorySink())
        env.submit().wait(60)

    def stored(session):
        with MemoryService({"data_dir": str(tmp_path)}) as service:
            return service.remember("Ada likes green tea.", provenance={"session": session})

    recall({"question": "who likes tea", "room": "r", "session": "s"}, session_key="room")
    recall({"question": "who likes tea", "session": "n"}, session_key=None)
    recall({"question": "who likes tea", "session": "d"})
    assert {name: stored(name)["status"] for name in "rsnd"} == {
        "r": "refused", "s": "refreshed", "n": "refreshed", "d": "refused"
    }  # fmt: skip


def test_memory_needs_its_service():
    env = LocalEnvironment("memory")
    env.from_collection(["x"]).map(MemoryRetriever, {}).sink(MemorySink())
    with pytest.raises(JobFailedError, match="set_memory"):
        env.submit().wait()
    for bad in ({"collections": ["a"]}, {"tier": "search", "scope": "x"}):
        with pytest.raises(ConfigError, match="tier"):
            MemoryRetriever(bad)


def embed(text):
    return [text.count(w) + 0.01 for w in ("nile", "rhine", "is")]


@pytest.fixture
def foreign(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(
        str(tmp_path / "db"), settings=chromadb.Settings(anonymized_telemetry=False)
    )
    rows = client.create_collection(
        "docs", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    texts = ["nile nile", "rhine is", "is is is"]
    rows.add(
        ids=["n", "r", "i"], documents=texts, embeddings=[embed(t) for t in texts],
        metadatas=[{"year": 2000 + n, "kind": "ab"[n % 2]} for n in range(3)],
    )  # fmt: skip
    client.close()
    return {"path": str(tmp_path / "db"), "collection_name": "docs", "embed": embed}


def test_a_chromadb_database_of_another_program(foreign, run_step, context):
    (found,) = run_step(ChromaRetriever({**foreign, "top_k": 2}), "where is the nile")
    assert found.passages[0].text in ("nile nile", "rhine is")
    a, b = embed("where is the nile"), embed(found.passages[0].text)
    norm = sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / norm
    assert found.passages[0].score == pytest.approx(cosine, abs=1e-5)
    where = {"year": {"$gte": 2001, "$lt": 2003}, "kind": "a"}
    assert found_ids(run_step, ChromaRetriever({**foreign, "where": where})) == ["i"]
    item = {"question": "nile", "where": {"kind": "b"}}
    both = ChromaRetriever({**foreign, "where": {"year": {"$gt": 0}}})
    assert found_ids(run_step, both, item) == ["r"]
    with pytest.raises(FilterError, match="refuses"):
        run_step(ChromaRetriever({**foreign, "where": {"year": {"$near": 1}}}), "nile")
    with pytest.raises(ConfigError, match="'docs'"):
        ChromaRetriever({**foreign, "collection_name": "other"}).open(context())
    with pytest.raises(ConfigError, match=r"chroma\.sqlite3"):
        ChromaRetriever({**foreign, "path": foreign["path"] + "x"}).open(context())


def test_chroma_settings_are_checked(foreign):
    for bad, message in [
        ({**foreign, "embed": None}, "embed"), ({**foreign, "mode": "bm25"}, "mode"),
        ({**foreign, "host": "h"}, "not both"), ({"documents": ["a"]}, "collection_name"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            ChromaRetriever(bad)


def test_a_chroma_collection_of_the_memory(tmp_path, run_step, context):
    pytest.importorskip("chromadb")
    with MemoryManager(tmp_path) as manager:
        made = manager.create_collection("c", backend="chroma", embedding_model="hash")
        made.insert_many(["the river Nile", "a market crash"], [{"n": 0}, {"n": 1}], ids=["a", "b"])
        manager.create_collection("plain", "VDB")
    config = {"collection_name": "c", "data_dir": str(tmp_path), "top_k": 1}
    for mode in ("dense", "bm25", "hybrid"):
        assert found_ids(run_step, ChromaRetriever({**config, "mode": mode}), "river") == ["a"]
    assert found_ids(run_step, ChromaRetriever({**config, "where": {"n": 1}}), "river") == ["b"]
    with pytest.raises(ConfigError, match="DenseRetriever"):
        ChromaRetriever({**config, "collection_name": "plain"}).open(context())
