from __future__ import annotations

import networkx as nx
import numpy as np
import pytest


@pytest.fixture
def both(graph):
    """A collection and the same graph in networkx: hubs, dead ends, loops, weights."""
    rng = np.random.default_rng(3)
    model = nx.DiGraph()
    model.add_nodes_from(range(300))
    for source in range(250):
        for target in (rng.integers(0, 300, 4) ** 2 // 300).tolist():
            model.add_edge(source, target, weight=float(rng.integers(1, 6)))
    model.add_edge(7, 7, weight=2.0)
    graph.add_nodes(model)
    graph.add_edges((a, b, {}, "", w) for a, b, w in model.edges(data="weight"))
    return graph, model


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("seed", [{5: 1}, {5: 3, 280: 1}, None])
def test_exact_scores_are_those_of_networkx(both, weighted, seed):
    graph, model = both
    matrix = np.asarray(
        nx.google_matrix(model, personalization=seed, weight="weight" if weighted else None)
    )
    scores = np.full(len(model), 1 / len(model))
    for _ in range(300):
        scores = scores @ matrix
    expected = dict(zip(model, scores.tolist(), strict=True))
    found = graph.pagerank(seed, exact=True, weighted=weighted)
    for node, score in expected.items():
        assert found.get(node, 0) == pytest.approx(score, abs=1e-8)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_push_comes_from_below_and_as_near_as_asked(both, weighted, direction):
    graph, _ = both
    seed = {5: 3.0, 299: 1.0}
    options = {"weighted": weighted, "direction": direction}
    exact = graph.pagerank(seed, exact=True, **options)
    lacks = []
    for eps in (1e-2, 1e-4, 1e-7):
        found = graph.pagerank(seed, eps=eps, **options)
        assert all(score <= exact.get(node, 0) + 1e-9 for node, score in found.items())
        lacks.append(1 - sum(found.values()))
    assert lacks == sorted(lacks, reverse=True)
    assert lacks[-1] < 1e-3


def test_the_best_nodes_are_found_at_the_default_accuracy(both):
    graph, _ = both
    overlaps = []
    for seed in range(0, 100, 10):
        exact = list(graph.pagerank(seed, exact=True, topk=20))
        overlaps.append(len(set(exact) & set(graph.pagerank(seed, topk=20))) / 20)
    assert np.mean(overlaps) >= 0.95


def test_a_lone_node_keeps_everything(graph):
    graph.add_nodes([1, 2])
    assert graph.pagerank(1, exact=True) == {1: pytest.approx(1)}
    assert graph.pagerank(1, eps=1e-9)[1] == pytest.approx(1, abs=1e-6)
    assert graph.pagerank(1, damping=0) == {1: 1.0}
