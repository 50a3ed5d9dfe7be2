"""How a plugin author tests a plugin: the parts on their own, then what is registered."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sage_example_plugin", reason="install examples/sage-example-plugin first")

from sage_example_plugin.retriever import KeywordRetriever

from sage.api.context import RuntimeContext
from sage.common.errors import ConfigError
from sage.common.hooks import create_hook_manager
from sage.common.plugins import find_operator, has_listeners
from sage.lib.types import Query


@pytest.fixture
def passages(tmp_path):
    file = tmp_path / "passages.txt"
    file.write_text("Ada wrote a program.\n\nThe sea is blue.\nThe first program was Ada's.\n")
    return file


def test_best_passage_comes_first(passages):
    retriever = KeywordRetriever({"file_path": str(passages), "top_k": 2})
    retriever.open(RuntimeContext(job_id="j", job_name="test", operator="r", uid="r"))
    found = retriever.execute(Query(text="first program"))
    assert [(p.id, p.score) for p in found.passages] == [("4", 1.0), ("1", 0.5)]
    assert retriever.execute("nothing known").passages == ()


def test_configuration_is_checked():
    with pytest.raises(ConfigError, match=r"KeywordRetriever: top_k: 'top_k' must be >= 1: 0"):
        KeywordRetriever({"file_path": "x", "top_k": 0})


def test_it_is_registered():
    assert find_operator("KeywordRetriever") is KeywordRetriever
    assert has_listeners()


def test_journal_has_a_line_per_event(tmp_path, monkeypatch):
    journal = tmp_path / "jobs.jsonl"
    monkeypatch.setenv("SAGE_EXAMPLE_JOURNAL", str(journal))
    hooks = create_hook_manager()
    hooks.notify("job_submitted", job_id="1", name="rag", graph={})
    hooks.notify("job_finished", job_id="1", name="rag", status="FINISHED", error=None)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["event"], line["job"]) for line in lines] == [
        ("submitted", "1"),
        ("finished", "1"),
    ]
