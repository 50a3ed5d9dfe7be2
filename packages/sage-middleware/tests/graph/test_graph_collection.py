from __future__ import annotations

import math

import networkx as nx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    DuplicateIdError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.graph.jsonl import write_lines
from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)

nodes = st.integers(0, 7) | st.sampled_from(["0", "a", "é"])
types = st.sampled_from(["", "knows", "likes"])
weights = st.floats(0, 5)


def plain(model):
    """Without types: the least weight of parallel edges."""
    out = nx.DiGraph()
    out.add_nodes_from(model)
    for a, b, w in model.edges(data="weight"):
        out.add_edge(a, b, weight=min(w, out.get_edge_data(a, b, {"weight": math.inf})["weight"]))
    return out


class GraphMachine(RuleBasedStateMachine):
    """A collection, and a second handle on it, against networkx."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.graph = GraphMemoryCollection.create(path, name="g")
        self.other = GraphMemoryCollection.connect(path, name="g")
        self.model = nx.MultiDiGraph()

    @rule(node=nodes, value=st.integers(-(2**63), 2**63 - 1))
    def add_node(self, node, value):
        self.graph.add_node(node, value=value)
        self.model.add_node(node)
        assert self.other.get_node(node)["properties"] == {"value": value}

    @rule(node=nodes)
    def remove_node(self, node):
        assert self.graph.remove_node(node) == (node in self.model)
        if node in self.model:
            self.model.remove_node(node)

    @rule(source=nodes, goal=nodes, kind=types, weight=weights, second=st.booleans())
    def add_edge(self, source, goal, kind, weight, second):
        target = goal
        graph = self.other if second else self.graph
        if source not in self.model or target not in self.model:
            with pytest.raises(RowNotFoundError):
                graph.add_edge(source, target, kind, weight=weight)
            return
        graph.add_edge(source, target, kind, weight=weight)
        self.model.add_edge(source, target, key=kind, weight=weight)

    @rule(edges=st.lists(st.tuples(nodes, nodes, types, weights), max_size=8))
    def add_edges(self, edges):
        self.graph.add_edges(((a, b, {}, t, w) for a, b, t, w in edges), create_missing=True)
        for a, b, kind, weight in edges:
            self.model.add_edge(a, b, key=kind, weight=weight)

    @rule(source=nodes, goal=nodes, kind=types | st.none())
    def remove_edge(self, source, goal, kind):
        target = goal
        held = self.model.get_edge_data(source, target, default={})
        gone = [t for t in held if kind in (None, t)]
        assert self.graph.remove_edge(source, target, kind) == len(gone)
        for t in gone:
            self.model.remove_edge(source, target, key=t)

    @rule()
    def save(self):
        self.graph.store()

    @rule()
    def reopen(self):
        path = self.graph.path
        self.graph.close()
        self.graph = GraphMemoryCollection.connect(path, name="g")

    @precondition(lambda self: len(self.model))
    @rule(data=st.data(), second=st.booleans(), kind=types | st.none())
    def look(self, data, second, kind):
        graph = self.other if second else self.graph
        start = data.draw(st.sampled_from(sorted(self.model, key=repr)))
        goal = data.draw(st.sampled_from(sorted(self.model, key=repr)))
        assert len(graph) == len(self.model)
        assert graph.edge_count() == self.model.number_of_edges()
        kept = [
            (a, b, t, w) for a, b, t, w in self.model.edges(keys=True, data="weight")
            if kind in (None, t)
        ]  # fmt: skip
        part = nx.MultiDiGraph()
        part.add_nodes_from(self.model)
        for a, b, t, w in kept:
            part.add_edge(a, b, key=t, weight=w)
        assert set(graph.neighbors(start, "out", kind)) == set(part.successors(start))
        assert set(graph.neighbors(start, "in", kind)) == set(part.predecessors(start))
        assert graph.degree(start, "both", kind) == part.degree(start)
        hops = nx.single_source_shortest_path_length(part, start, cutoff=2)
        found = graph.k_hop(start, 2, type=kind)
        assert set(found) == set(hops) - {start}
        assert [hops[n] for n in found] == sorted(hops[n] for n in found)
        path = graph.shortest_path(start, goal, type=kind)
        lightest = graph.shortest_path(start, goal, type=kind, weighted=True)
        if nx.has_path(part, start, goal):
            assert len(path) - 1 == nx.shortest_path_length(part, start, goal)
            simple = plain(part)
            assert nx.is_path(simple, path)
            assert nx.is_path(simple, lightest)
            assert nx.path_weight(simple, lightest, "weight") == pytest.approx(
                nx.dijkstra_path_length(simple, start, goal)
            )
        else:
            assert path is None
            assert lightest is None

    def teardown(self):
        self.graph.close()
        self.other.close()
        self.folder.cleanup()


TestGraphMachine = GraphMachine.TestCase
TestGraphMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)


def test_properties_are_kept_replaced_and_merged(graph):
    graph.add_node("ann", "person", age=30, tags=["a"])
    graph.upsert_node("ann", age=31)
    assert graph.get_node("ann") == {
        "id": "ann",
        "label": "person",
        "properties": {"age": 31, "tags": ["a"]},
    }
    graph.add_node("ann", age=1)
    assert graph.get_node("ann") == {"id": "ann", "label": "", "properties": {"age": 1}}
    graph.upsert_edge("ann", "bob", "knows", since=2020)
    graph.upsert_edge("ann", "bob", "knows", weight=2, how="work")
    assert graph.get_edge("ann", "bob", "knows") == {
        "source": "ann",
        "target": "bob",
        "type": "knows",
        "weight": 2.0,
        "properties": {"since": 2020, "how": "work"},
    }
    assert graph.has_edge("ann", "bob")
    assert not graph.has_edge("ann", "bob", "likes")
    assert [n["id"] for n in graph.nodes()] == ["ann", "bob"]
    assert "bob" in graph
    assert 5 not in graph


def test_strict_adding_and_missing_things(graph):
    graph.add_node(1)
    with pytest.raises(DuplicateIdError):
        graph.add_nodes([2, 1], exist_ok=False)
    assert not graph.has_node(2)
    graph.add_edge(1, 1)
    with pytest.raises(DuplicateIdError):
        graph.add_edge(1, 1, exist_ok=False)
    for call in (
        lambda: graph.get_node("1"),
        lambda: graph.neighbors(9),
        lambda: graph.get_edge(1, 1, "x"),
        lambda: graph.pagerank(9),
        lambda: graph.shortest_path(1, 9),
    ):
        with pytest.raises(RowNotFoundError):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g.add_node(1.5),
        lambda g: g.add_node(True),
        lambda g: g.add_node(None),
        lambda g: g.add_node(2**63),
        lambda g: g.add_node("x", bad=object()),
        lambda g: g.add_nodes([{"id": 1, "colour": 2}]),
        lambda g: g.add_edges([(1,)]),
        lambda g: g.add_edge(1, 2, weight=-1),
        lambda g: g.add_edge(1, 2, weight=math.nan),
        lambda g: g.add_edges([(1, 2, {1: 2})]),
        lambda g: g.neighbors(1, "sideways"),
        lambda g: g.k_hop(1, 0),
        lambda g: g.pagerank(1, eps=0),
        lambda g: g.pagerank(1, damping=1),
        lambda g: g.pagerank({1: 0}),
        lambda g: g.shortest_path(1, 2, weighted=True, max_hops=3),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(graph, call):
    graph.add_nodes([1, 2])
    with pytest.raises(InvalidInputError):
        call(graph)
    assert len(graph) == 2
    assert graph.edge_count() == 0


def test_a_batch_with_one_bad_edge_adds_none(graph):
    graph.add_nodes(range(3))
    with pytest.raises(RowNotFoundError, match="'nobody'"):
        graph.add_edges([(0, 1), (1, 2), (2, "nobody")])
    assert graph.edge_count() == 0
    assert graph.neighbors(0) == []


def test_large_batches_take_the_short_way_and_mean_the_same(graph, reopen):
    other = GraphMemoryCollection.connect(graph.path, name="graph")
    assert graph.add_nodes((i, {"n": i}) for i in range(7000)) == 7000
    edges = [(i, (i * 31 + 7) % 7000, {"e": i}, "", float(i % 3)) for i in range(7000)]
    graph.add_edges([(0, 1, {"old": 1}, "", 9.0), *edges, (6999, 0, {"last": 1}, "", 4.0)])
    assert other.neighbors(5) == [162]
    assert graph.get_edge(6999, 0)["properties"] == {"last": 1}
    again = reopen(graph)
    assert len(list(again.edges())) == again.edge_count()
    assert again.neighbors(162, "in") == other.neighbors(162, "in")
    other.close()


def test_limits(graph):
    graph.add_nodes(range(50))
    graph.add_edges([(0, i) for i in range(1, 20)] + [(i, i + 20) for i in range(1, 20)])
    assert len(graph.k_hop(0, 2, limit=5)) == 5
    assert graph.shortest_path(0, 21, max_hops=1) is None
    assert graph.shortest_path(0, 21, max_hops=2) == [0, 1, 21]
    assert graph.shortest_path(21, 0) is None
    assert graph.shortest_path(21, 0, direction="in") == [21, 1, 0]
    assert graph.shortest_path(21, 22, direction="both") == [21, 1, 0, 2, 22]


def test_a_damaged_or_missing_snapshot_is_made_anew(graph, reopen):
    graph.add_nodes(range(3))
    graph.add_edges([(0, 1), (1, 2)])
    for damage in (b"", b"sage-adjacency/1\n{}", None):
        graph.close()
        snapshot = graph.path / "adjacency.bin"
        assert snapshot.exists()
        if damage is None:
            snapshot.unlink()
        else:
            snapshot.write_bytes(damage)
        graph = reopen(graph)
        assert graph.k_hop(0, 2) == [1, 2]


def test_an_export_that_breaks_off_leaves_what_was_there(tmp_path):
    def edges():
        yield {"source": 1, "target": 2}
        raise InvalidInputError("broken")

    (tmp_path / "g.jsonl").write_text("before", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="broken"):
        write_lines(tmp_path / "g.jsonl", [{"id": 1}], edges())
    assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == ["before"]


def test_export_and_import(graph, tmp_path):
    graph.add_node("a", "person", name="Ann")
    graph.add_node(2)
    graph.add_edge("a", 2, "knows", weight=0.5, since=1)
    assert graph.export_jsonl(tmp_path / "new" / "g.jsonl") == 3
    assert (tmp_path / "new" / "g.jsonl").stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "other"
    folder.mkdir()
    with GraphMemoryCollection.create(folder, name="other") as other:
        assert other.import_jsonl(tmp_path / "new" / "g.jsonl") == 3
        assert list(other.nodes()) == list(graph.nodes())
        assert list(other.edges()) == list(graph.edges())
        (tmp_path / "bad.jsonl").write_text('{"node": {"id": "z"}}\n{"edge": {"source": 1}}\n')
        with pytest.raises(InvalidInputError, match="line 2"):
            other.import_jsonl(tmp_path / "bad.jsonl")
        assert "z" not in other


def test_info_and_the_end(graph):
    graph.add_node(1)
    facts = graph.info()
    assert (facts["backend_type"], facts["count"], facts["edges"]) == ("Graph", 1, 0)
    graph.close()
    graph.close()
    with pytest.raises(CollectionClosedError):
        graph.neighbors(1)
    with pytest.raises(InvalidInputError, match="colour"):
        GraphMemoryCollection.connect(graph.path, name="graph", colour=1)
