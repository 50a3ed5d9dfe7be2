"""Views of a graph."""

from __future__ import annotations

import json

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import GraphError


def test_dict_is_plain_and_complete(good_environment):
    view = good_environment.graph()
    assert json.loads(json.dumps(view)) == view
    ids = {node["id"] for node in view["nodes"]}
    assert all({edge["source"], edge["target"]} <= ids for edge in view["edges"])
    if good_environment.name == "looping":
        assert sum(edge["feedback"] for edge in view["edges"]) == 1


def test_mermaid_has_every_step(good_environment):
    text = good_environment.to_mermaid()
    assert text == good_environment.graph(format="mermaid")
    for node in good_environment.stream_graph.nodes.values():
        assert f"n{node.id}" in text


def test_names_are_not_markup():
    env = LocalEnvironment("x")
    env.from_collection([1], name='a"]; click n0 "javascript:alert(1)"\nn9').discard()
    lines = env.to_mermaid().splitlines()
    assert len(lines) == 4
    assert '"javascript' not in env.to_mermaid()


def test_text_says_types(build):
    text = build["linear"]().graph(format="text")
    assert "length → int" in text
    assert "retry" in text


def test_unknown_format():
    with pytest.raises(GraphError, match="mermaid"):
        LocalEnvironment("x").graph(format="svg")
