"""MemoryWrite, MemoryRecall and SessionMemory in jobs of the real engine."""

from __future__ import annotations

from typing import Any

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import JobFailedError
from sage.lib.memory import MemoryRecall, MemoryWrite, SessionMemory
from sage.lib.rag.retriever import DenseRetriever
from sage.lib.types import Answer, Document, Prompt, Query, Retrieved
from sage.middleware.services.memory import MemoryService


def run(config: Any, items: list[Any], *steps: Any) -> list[Any]:
    """Send items through steps ``(operator, config)`` of a job with the memory service."""
    seen: list[Any] = []
    env = LocalEnvironment("memory")
    env.set_memory(config)
    stream = env.from_collection(items)
    for step in steps:
        stream = stream.map(*step) if isinstance(step, tuple) else stream.map(step)
    stream.sink(seen.append)
    env.submit().wait(60)
    return seen


def answered(query: Query) -> Answer:
    return Answer(text=f"the answer to {query.text}", query=query)


def test_what_one_job_writes_another_recalls(config: dict[str, Any]) -> None:
    texts = ["Anna likes green tea", "The office opens at 9", "Anna likes green tea."]
    assert run(config, texts, (MemoryWrite, {"metadata": {"kind": "fact"}})) == texts
    found = run(config, ["when does the office open?"], (MemoryRecall, {"top_k": 1}))[0]
    assert isinstance(found, Retrieved)
    (memory,) = found.passages
    assert memory.text == "The office opens at 9"
    assert memory.metadata["memory"] is True
    assert memory.metadata["kind"] == "fact"
    assert memory.metadata["source"] == "document"
    assert "MemoryWrite" in memory.metadata["operator"]
    assert memory.metadata["job"]
    assert memory.metadata["record"]
    with MemoryService(config) as service:
        assert len(service.long_term.entries()) == 2


def test_operators_are_found_by_name_and_in_specs(config: dict[str, Any]) -> None:
    seen: list[Any] = []
    env = LocalEnvironment("memory")
    env.set_memory(config)
    stream = env.from_collection(["water boils at 100 degrees"])
    stream.map("MemoryWrite").map("MemoryRecall", {"top_k": 1}).sink(seen.append)
    env.submit().wait(60)
    assert seen[0].passages[0].text == "water boils at 100 degrees"


def test_memories_join_the_passages_of_a_collection(config: dict[str, Any]) -> None:
    config["collections"] = {"knowledge": {}}
    with MemoryService(config) as service:
        service.insert("knowledge", "Rivers flow to the sea")
        service.remember("the user loves rivers")
    found = run(
        config,
        ["tell me about rivers"],
        (DenseRetriever, {"collection_name": "knowledge", "top_k": 1}),
        (MemoryRecall, {"top_k": 1, "position": "after"}),
    )[0]
    assert [p.text for p in found.passages] == ["Rivers flow to the sea", "the user loves rivers"]


def test_nobody_s_memory_becomes_everybody_s(config: dict[str, Any]) -> None:
    items = [Document(id="1", text="I drink tea", metadata={"user": "a"})]
    run(config, items, (MemoryWrite, {"scope_field": "user"}))
    queries = [
        Query(text="tea", metadata={"user": "a"}),
        Query(text="tea", metadata={"user": "b"}),
        Query(text="tea"),
    ]
    found = run(config, queries, (MemoryRecall, {"scope_field": "user"}))
    assert [len(r.passages) for r in found] == [1, 0, 0]


def test_an_answer_made_of_memories_is_not_written_back(config: dict[str, Any]) -> None:
    with MemoryService(config) as service:
        service.remember("the harbour was built in 1894 by the city")

    def repeat(item: Retrieved) -> Answer:
        return Answer(text=f"As I recall, {item.passages[0].text}.", query=item.query)

    items = [Query(text=f"harbour {i}?", metadata={"session": "s"}) for i in range(50)]
    env_items = run(config, items, MemoryRecall, repeat, (MemoryWrite, {"what": "answer"}))
    assert len(env_items) == 50
    with MemoryService(config) as service:
        assert [e["text"] for e in service.long_term.entries()] == [
            "the harbour was built in 1894 by the city"
        ]


def test_history_travels_with_the_question(config: dict[str, Any]) -> None:
    def ask(text: str, session: str = "s") -> Any:
        query = Query(text=text, metadata={"session": session})
        return run(config, [query], SessionMemory, answered, SessionMemory)[0]

    first = ask("who are you?")
    assert first.query.metadata["history"] == ()
    second = ask("and what else?")
    assert second.query.metadata["history"] == (
        {"role": "user", "content": "who are you?"},
        {"role": "assistant", "content": "the answer to who are you?"},
    )
    assert ask("hello", "other").query.metadata["history"] == ()
    with MemoryService(config) as service:
        turn = service.history("s")["turns"][1]
        assert turn["provenance"]["source"] == "assistant"
        assert "SessionMemory" in turn["provenance"]["operator"]


def test_the_session_may_be_the_key_and_the_item_anything_with_a_question(
    config: dict[str, Any],
) -> None:
    seen: list[Any] = []
    env = LocalEnvironment("memory")
    env.set_memory(config)
    items = [{"question": "a?", "who": "x"}, {"question": "b?", "who": "y"}]
    stream = env.from_collection(items).key_by(lambda item: item["who"])
    stream.map(SessionMemory).sink(seen.append)
    env.submit().wait(60)
    with MemoryService(config) as service:
        assert sorted(service.list_sessions()) == ["x", "y"]
    prompt = Prompt(messages=(), query=Query(text="c?", metadata={"session": "x"}))
    (out,) = run(config, [prompt], SessionMemory)
    assert isinstance(out, Prompt)
    assert out.query.metadata["history"] == ({"role": "user", "content": "a?"},)


def test_plain_collections_take_writes_too(config: dict[str, Any]) -> None:
    config["collections"] = {"notes": {}}
    items = [answered(Query(text="one?")), answered(Query(text="two?"))]
    run(config, items, (MemoryWrite, {"collection": "notes", "what": "exchange"}))
    with MemoryService(config) as service:
        rows = service.scan("notes")
        assert [r["text"] for r in rows] == ["one?\nthe answer to one?", "two?\nthe answer to two?"]
        assert rows[0]["metadata"]["_source"] == "exchange"


def test_what_became_of_writes_is_counted(config: dict[str, Any]) -> None:
    env = LocalEnvironment("memory")
    env.set_memory(config)
    items = ["a fact of today", "a fact of today", "my password is hunter2x9"]
    env.from_collection(items).map(MemoryWrite, name="write").sink(lambda item: None)
    job = env.submit()
    job.wait(60)
    text = str(job.metrics())
    for name in ("memory_inserted", "memory_refreshed", "memory_refused"):
        assert name in text


def test_missing_service_and_session_are_said() -> None:
    env = LocalEnvironment("no memory")
    env.from_collection(["x"]).map(MemoryRecall).sink(lambda item: None)
    with pytest.raises(JobFailedError, match="set_memory"):
        env.submit().wait(60)


def test_an_item_without_session_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(JobFailedError, match="has no session"):
        run(config, ["hello"], SessionMemory)
