"""The memory service by itself: the seed's use, its configuration, its life."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DimensionError,
    EmbeddingMismatchError,
)
from sage.middleware.services.memory.service import MemoryService


def test_the_seed_s_factory_runs_again_and_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SAGE_MEMORY_DIR", str(tmp_path))
    from sage.middleware.services.memory import MemoryService

    def memory_service_factory():
        service = MemoryService()
        result = service.create_collection(
            name="qa_collection",
            backend_type="VDB",
            description="QA pipeline memory",
        )
        assert result.dim is not None
        return service

    first = memory_service_factory()
    first.insert("qa_collection", "the Nile flows north", {"n": 1}, "nile")
    first.stop()
    second = memory_service_factory()
    assert second.get("qa_collection", "nile")["metadata"] == {"n": 1}
    assert second.info("qa_collection")["description"] == "QA pipeline memory"
    second.stop()


def test_a_collection_that_does_not_fit_is_refused(service: MemoryService) -> None:
    service.create_collection("a", embedding_model="hash")
    with pytest.raises(CollectionExistsError, match="'VDB', not 'KV'"):
        service.create_collection("a", "KV")
    with pytest.raises(DimensionError, match="768 elements, not 5"):
        service.create_collection("a", dim=5)
    with pytest.raises(EmbeddingMismatchError):
        service.create_collection("a", embedding_model={"name": "hash", "dim": 64})
    assert service.count("a") == 0
    with pytest.raises(CollectionNotFoundError, match="nobody"):
        service.retrieve("nobody", "x")


def test_methods_reach_every_kind_of_collection(service: MemoryService) -> None:
    service.create_collection("texts")
    ids = service.insert_many(
        "texts", ["red apple", "green pear", "blue sea"], [{"n": i} for i in range(3)]
    )
    assert [h["id"] for h in service.retrieve("texts", "a green pear", topk=1)] == [ids[1]]
    assert [h[0]["id"] for h in service.retrieve_many("texts", ["apple", "sea"], 1)] == [
        ids[0],
        ids[2],
    ]
    service.update("texts", ids[0], "yellow banana")
    service.upsert("texts", ["grey stone"], None, ["s"])
    assert service.count("texts") == 4
    assert service.count("texts", {"n": {"$gte": 1}}) == 2
    service.create_index("texts", "late", where={"n": 2})
    assert [h["id"] for h in service.retrieve("texts", "anything", index_name="late")] == [ids[2]]
    assert service.delete("texts", "s") == 1
    assert service.forget("texts", {"n": 0}) == 1
    assert {r["text"] for r in service.scan("texts")} == {"green pear", "blue sea"}
    service.create_collection("keys", "KV")
    service.put("keys", "k", {"v": 1})
    assert service.get("keys", "k") == {"v": 1}
    assert service.scan("keys") == [("k", {"v": 1})]
    assert service.delete("keys", "k") is True
    service.create_collection("more")
    service.insert("more", "a green parrot")
    found = service.search("green", ["texts", "more"], topk=2)
    assert {h["collection"] for h in found} == {"texts", "more"}
    service.rename_collection("more", "birds")
    assert service.count("birds") == 1
    service.delete_collection("birds")
    assert not service.has_collection("birds")


def test_start_makes_what_the_configuration_names(config: dict[str, Any]) -> None:
    config["collections"] = {
        "facts": {"description": "d", "indexes": {"new": {"year": {"$gt": 2020}}, "all": {}}},
        "kv": {"backend_type": "KV"},
        "small": {"embedding_model": {"name": "hash", "dim": 64}, "options": {"metric": "dot"}},
    }
    for _ in range(2):
        with MemoryService(config) as service:
            assert {c["name"] for c in service.list_collections()} == {"facts", "kv", "small"}
            assert {i["name"] for i in service.collection("facts").list_indexes()} == {"new", "all"}
            assert service.collection("small").metric == "dot"
            assert service.collection("small").dim == 64


def test_wrong_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"memory: dta_dir: unknown key; did you mean 'data_dir'"):
        MemoryService({"dta_dir": "x"})
    with pytest.raises(ConfigError, match=r"session\.policy"):
        MemoryService({"session": {"policy": "explode"}})
    with pytest.raises(ConfigError, match="duplicate_threshold"):
        MemoryService({"long_term": {"duplicate_threshold": 2.0}})
    with MemoryService(tmp_path / "there") as service:
        assert service.data_dir == str(tmp_path / "there")
    with (
        MemoryService(
            data_dir=str(tmp_path), session={"policy": "summarise", "summariser": "no"}
        ) as s,
        pytest.raises(ConfigError, match="'extractive'"),
    ):
        s.add_turn("x", "user", "hello")


def test_stop_closes_collections_and_use_opens_them_again(service: MemoryService) -> None:
    collection = service.create_collection("a")
    service.insert("a", "x", None, "x")
    service.remember("a fact")
    service.stop()
    assert collection.closed
    assert service.get("a", "x")["text"] == "x"
    assert [h["text"] for h in service.recall("fact")] == ["a fact"]


def test_threads_may_do_everything_at_once(service: MemoryService) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work(number: int) -> None:
        try:
            barrier.wait()
            service.create_collection("shared")
            for i in range(20):
                service.insert("shared", f"text {number} {i}")
                service.add_turn("one", "user", f"{number}.{i}")
                service.remember(f"fact {i} holds")
                service.task_note("t", f"{number} {i}")
                service.retrieve("shared", "text", topk=2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert service.count("shared") == 120
    window = service.sessions.window("one")
    assert [t.number for t in window.turns] == list(range(1, 121))
    assert len(service.long_term.entries()) == 20
    assert [n["number"] for n in service.tasks.notes("t")] == list(range(1, 121))
