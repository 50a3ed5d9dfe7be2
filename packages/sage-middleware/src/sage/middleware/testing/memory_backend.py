"""Conformance suite of vector memory back ends.

The author of a back end subclasses the suite in a test module and says how a collection is made
and opened again::

    class TestMine(VectorBackendSuite):
        backend = "mine"                       # as registered in ``sage.memory_backends``

pytest then runs every contract below on real collections in a temporary directory. What a back end
cannot do by its nature it says in ``lacks``; those tests are skipped with that reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DimensionError,
    DuplicateIdError,
    EmbeddingMismatchError,
    FilterError,
    IndexDetachedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    RowNotFoundError,
)
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.vdb.filters import matches, parse

DIM = 16
ROWS = 300
FloatArray = npt.NDArray[np.float32]

FILTERS: tuple[Mapping[str, Any], ...] = (
    {"kind": "a"},
    {"kind": {"$eq": "a"}},
    {"kind": {"$ne": "a"}},
    {"year": {"$gt": 2005}},
    {"year": {"$gte": 2005, "$lt": 2010}},
    {"year": {"$lte": 2001}},
    {"year": 2003.0},
    {"kind": {"$in": ["a", "c"]}},
    {"kind": {"$nin": ["a", "c"]}},
    {"tags": {"$contains": "red"}},
    {"name": {"$contains": "row 1"}},
    {"rare": {"$exists": True}},
    {"rare": {"$exists": False}},
    {"rare": None},
    {"flag": True},
    {"flag": 1},
    {"name": {"$gt": "row 5"}},
    {"nested": {"deep": {"x": 1}}},
    {"$or": [{"kind": "a"}, {"year": {"$gt": 2015}}]},
    {"$and": [{"kind": "b"}, {"flag": False}]},
    {"$not": {"kind": "a"}},
    {"year": {"$not": {"$gt": 2005}}},
    {"kind": "a", "year": {"$gt": 2000}, "$or": [{"flag": True}, {"rare": {"$exists": True}}]},
    {"nobody": "has it"},
    {"nobody": {"$ne": "has it"}},
    {},
)


def sample_rows(
    count: int = ROWS, seed: int = 3
) -> tuple[list[str], list[dict[str, Any]], FloatArray]:
    """Texts, metadata of every JSON type, and ``(count, DIM)`` normalised vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadatas: list[dict[str, Any]] = []
    for i in range(count):
        metadata: dict[str, Any] = {
            "row": i,
            "kind": "abc"[i % 3],
            "year": 2000 + i % 20,
            "name": f"row {i}",
            "flag": i % 4 == 0,
            "share": i / 7,
            "tags": ["red", "green"] if i % 5 == 0 else ["blue"],
        }
        if i % 10 == 0:
            metadata["rare"] = None if i % 20 == 0 else "yes"
        if i % 6 == 0:
            metadata["nested"] = {"deep": {"x": i % 12 // 6}}
        metadatas.append(metadata)
    texts = [f"text number{i} about topic{i % 9} and größe 中文" for i in range(count)]
    return texts, metadatas, vectors


class VectorBackendSuite:
    """The contract of a ``VDB`` collection."""

    backend: ClassVar[str] = "VDB"
    lacks: ClassVar[Mapping[str, str]] = {}
    """Feature → reason: ``words`` (bm25, hybrid), ``atomic_update``, ``other_handles``,
    ``forget``, ``retention``."""

    create_options: ClassVar[Mapping[str, Any]] = {}

    # -- fixtures --------------------------------------------------------------------------------

    @pytest.fixture
    def manager(self, tmp_path: Path) -> Iterator[MemoryManager]:
        """A manager on an empty directory."""
        with MemoryManager(tmp_path / "memory") as manager:
            yield manager

    @pytest.fixture
    def empty(self, manager: MemoryManager) -> Any:
        """An empty collection for ready vectors."""
        return self.make(manager, "empty", dim=DIM)

    @pytest.fixture
    def filled(self, manager: MemoryManager) -> Any:
        """A collection with ``sample_rows``; ids are ``r0`` … ."""
        collection = self.make(manager, "filled", dim=DIM)
        texts, metadatas, vectors = sample_rows()
        collection.insert_many(texts, metadatas, [f"r{i}" for i in range(ROWS)], vectors=vectors)
        return collection

    def make(self, manager: MemoryManager, name: str, **options: Any) -> Any:
        """A new collection of the back end."""
        return manager.create_collection(
            name=name,
            backend_type="VDB",
            backend=self.backend,
            **{**self.create_options, **options},
        )

    def reopened(self, manager: MemoryManager, name: str, **options: Any) -> tuple[Any, Any]:
        """The collection as a new manager sees it after the old one closed; manager first."""
        manager.close()
        again = MemoryManager(manager.data_dir)
        return again, again.connect_collection(name, **options)

    def need(self, feature: str) -> None:
        """Skip the test if the back end lacks the feature."""
        if feature in self.lacks:
            pytest.skip(self.lacks[feature])

    # -- rows ------------------------------------------------------------------------------------

    def test_a_row_comes_back_as_it_was_put(self, empty: Any) -> None:
        metadata = {
            "s": "ä\n'\"; DROP TABLE rows; --",
            "i": -(2**40),
            "f": 0.1,
            "b": True,
            "n": None,
            "l": [1, "x", None],
            "m": {"k": {"z": []}},
            "": "empty key",
        }
        vector = np.arange(1, DIM + 1, dtype=np.float32)
        row_id = empty.insert("日本語 text\twith\0control", metadata, vector=vector)
        row = empty.get(row_id)
        assert (row["id"], row["text"]) == (row_id, "日本語 text\twith\0control")
        assert row["metadata"] == metadata
        hit = empty.retrieve(query_vector=vector, topk=1)[0]
        assert set(hit) == {"id", "text", "metadata", "score"}
        assert hit["metadata"] == metadata
        assert hit["score"] == pytest.approx(1.0, abs=1e-4)

    def test_returned_metadata_is_the_callers_own(self, filled: Any) -> None:
        filled.get("r0")["metadata"]["kind"] = "spoiled"
        hit = filled.retrieve(query_vector=sample_rows()[2][0], topk=1)[0]
        hit["metadata"]["kind"] = "spoiled"
        assert filled.get("r0")["metadata"]["kind"] == "a"
        again = filled.retrieve(query_vector=sample_rows()[2][0], topk=1)[0]
        assert again["metadata"]["kind"] == "a"

    def test_ids_are_made_unique_and_in_order(self, empty: Any) -> None:
        texts, metadatas, vectors = sample_rows(50)
        ids = empty.insert_many(texts, metadatas, vectors=vectors)
        assert len(set(ids)) == 50
        assert [r["metadata"]["row"] for r in empty.get(ids)] == list(range(50))
        assert len(empty) == empty.count() == 50

    def test_get_passes_over_missing_ids(self, filled: Any) -> None:
        assert filled.get("nobody") is None
        assert [r["id"] for r in filled.get(["r5", "nobody", "r1"])] == ["r5", "r1"]
        assert "r5" in filled
        assert "nobody" not in filled

    def test_scan_gives_every_row(self, filled: Any) -> None:
        assert {r["id"] for r in filled.scan()} == {f"r{i}" for i in range(ROWS)}
        assert {r["metadata"]["kind"] for r in filled.scan({"kind": "b"})} == {"b"}
        assert len(list(filled.scan(limit=7))) == 7

    def test_update_replaces_what_is_given(self, filled: Any) -> None:
        before = filled.get("r7")
        vector = -sample_rows()[2][7]
        filled.update("r7", "changed", {"kind": "new"}, vector=vector)
        row = filled.get("r7")
        assert (row["text"], row["metadata"]) == ("changed", {"kind": "new"})
        hit = filled.retrieve(query_vector=vector, topk=1)[0]
        assert (hit["id"], hit["text"]) == ("r7", "changed")
        assert len(filled) == ROWS
        filled.update("r7", metadata=before["metadata"])
        assert filled.get("r7")["text"] == "changed"
        filled.update("r7", metadata={"kind": "z"}, merge=True)
        assert filled.get("r7")["metadata"] == {**before["metadata"], "kind": "z"}
        assert filled.retrieve(query_vector=vector, topk=1)[0]["id"] == "r7"

    def test_update_of_a_missing_id_changes_nothing(self, filled: Any) -> None:
        before = {r["id"]: r["text"] for r in filled.scan()}
        with pytest.raises(RowNotFoundError, match="nobody"):
            filled.update("nobody", "text", vector=np.ones(DIM))
        with pytest.raises(RowNotFoundError, match="nobody"):
            filled.update_many(["r1", "nobody"], ["x", "y"], vectors=np.ones((2, DIM)))
        assert {r["id"]: r["text"] for r in filled.scan()} == before

    def test_delete(self, filled: Any) -> None:
        vectors = sample_rows()[2]
        assert filled.delete("r3") == 1
        assert filled.delete(["r4", "r5"]) == 2
        assert filled.get("r3") is None
        assert len(filled) == ROWS - 3
        assert filled.retrieve(query_vector=vectors[3], topk=1)[0]["id"] != "r3"
        with pytest.raises(RowNotFoundError, match="r3"):
            filled.delete(["r6", "r3"])
        assert filled.get("r6") is not None
        assert filled.delete(["r6", "r3"], missing_ok=True) == 1
        assert filled.delete(where={"kind": "b"}) == sum(
            1 for i in range(ROWS) if i % 3 == 1 and i != 4
        )
        assert filled.count({"kind": "b"}) == 0

    def test_forget_takes_rows_by_filter_or_id(self, manager: MemoryManager, filled: Any) -> None:
        self.need("forget")
        vectors = sample_rows()[2]
        assert filled.forget({"kind": "b"}) == sum(1 for i in range(ROWS) if i % 3 == 1)
        assert filled.forget(ids=["r0", "r1", "nobody"]) == 1
        with pytest.raises(InvalidInputError, match="exactly one"):
            filled.forget()
        assert filled.count({"kind": "b"}) == 0
        assert filled.retrieve(query_vector=vectors[0], topk=1)[0]["id"] != "r0"
        assert filled.retrieve(query_vector=vectors[2], topk=1)[0]["id"] == "r2"
        assert filled.insert("again", id="r0", vector=vectors[0]) == "r0"
        again, rows = self.reopened(manager, "filled")
        assert rows.retrieve(query_vector=vectors[0], topk=1)[0]["text"] == "again"
        assert rows.get("r1") is None
        again.close()

    def test_retention_keeps_the_newest(self, filled: Any) -> None:
        self.need("retention")
        filled.set_retention(max_rows=5)
        newest = [f"r{i}" for i in range(ROWS - 5, ROWS)]
        assert sorted(row["id"] for row in filled.scan()) == sorted(newest)
        filled.insert("new", id="new", vector=sample_rows()[2][0])
        assert sorted(row["id"] for row in filled.scan()) == sorted([*newest[1:], "new"])
        assert filled.retention == {"max_rows": 5, "max_age": None}
        with pytest.raises(InvalidInputError, match="max_rows"):
            filled.set_retention(max_rows=0)

    def test_upsert_inserts_and_replaces(self, filled: Any) -> None:
        vectors = sample_rows()[2]
        filled.upsert(["one", "two"], [{"v": 1}, {"v": 2}], ["r1", "new"], vectors=vectors[:2])
        assert len(filled) == ROWS + 1
        assert filled.get("r1")["text"] == "one"
        assert filled.get("new")["metadata"] == {"v": 2}
        assert filled.upsert("three", {"v": 3}, "r1", vectors=vectors[0]) == ["r1"]
        assert filled.get("r1")["text"] == "three"
        assert len(filled) == ROWS + 1

    # -- refusals --------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("texts", "metadatas", "ids", "vectors"),
        [
            ("t", None, ["x"], np.ones(DIM)),
            ("t", None, 5, np.ones(DIM)),
            ("t", None, "x", "no numbers"),
            ("t", None, "x", np.ones((1, DIM))),
            ("t", "no mapping", "x", np.ones(DIM)),
            (["t"], None, "x", np.ones((1, DIM))),
            (["t", "u"], {"v": 1}, ["x", "y"], np.ones((2, DIM))),
            (["t", "u"], None, ["x", "y"], [[1.0] * DIM, [1.0]]),
        ],
    )
    def test_a_wrong_upsert_is_refused(
        self, filled: Any, texts: Any, metadatas: Any, ids: Any, vectors: Any
    ) -> None:
        with pytest.raises(InvalidInputError):
            filled.upsert(texts, metadatas, ids, vectors=vectors)
        assert len(filled) == ROWS
        assert filled.get("x") is None

    @pytest.mark.parametrize(
        ("error", "texts", "metadatas", "ids", "vectors"),
        [
            (DuplicateIdError, ["a", "b"], None, ["x", "r1"], np.ones((2, DIM))),
            (DuplicateIdError, ["a", "b"], None, ["x", "x"], np.ones((2, DIM))),
            (DimensionError, ["a", "b"], None, None, np.ones((2, DIM + 1))),
            (InvalidInputError, ["a", "b"], None, None, np.full((2, DIM), np.nan)),
            (InvalidInputError, ["a", "b"], None, None, np.ones((3, DIM))),
            (InvalidInputError, ["a", "b"], [{}], None, np.ones((2, DIM))),
            (InvalidInputError, ["a", "b"], [{}, {"x": object()}], None, np.ones((2, DIM))),
            (InvalidInputError, ["a", "b"], None, ["x"], np.ones((2, DIM))),
            (InvalidInputError, ["a", "b"], None, ["x", ""], np.ones((2, DIM))),
            (InvalidInputError, ["a", 5], None, None, np.ones((2, DIM))),
            (InvalidInputError, ["a", "b"], None, None, None),
        ],
    )
    def test_a_wrong_batch_changes_nothing(
        self,
        filled: Any,
        error: type[Exception],
        texts: Any,
        metadatas: Any,
        ids: Any,
        vectors: Any,
    ) -> None:
        with pytest.raises(error):
            filled.insert_many(texts, metadatas, ids, vectors=vectors)
        assert len(filled) == ROWS
        assert filled.get("x") is None
        assert filled.get("r1")["text"].startswith("text number1 ")

    def test_wrong_queries_are_refused(self, filled: Any) -> None:
        vector = np.ones(DIM)
        with pytest.raises(DimensionError, match=str(DIM)):
            filled.retrieve(query_vector=np.ones(DIM - 1))
        with pytest.raises(InvalidInputError, match="number"):
            filled.retrieve(query_vector="no numbers")
        with pytest.raises(InvalidInputError, match="topk"):
            filled.retrieve(query_vector=vector, topk=0)
        with pytest.raises(InvalidInputError, match="mode"):
            filled.retrieve(query_vector=vector, mode="psychic")
        with pytest.raises(InvalidInputError, match="embedding model"):
            filled.retrieve("a text, but no model")
        with pytest.raises(IndexNotFoundError, match="nothing"):
            filled.retrieve(query_vector=vector, index_name="nothing")
        wrong: tuple[Any, ...] = (
            {"a": {"$near": 1}},
            {"$xor": []},
            {"$or": []},
            {"a": {"$gt": [1]}},
            [1],
        )
        for where in wrong:
            with pytest.raises(FilterError):
                filled.retrieve(query_vector=vector, where=where)

    # -- filters ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("where", FILTERS, ids=lambda w: json.dumps(w)[:60])
    def test_filters_select_exactly_the_matching_rows(
        self, filled: Any, where: Mapping[str, Any]
    ) -> None:
        _, metadatas, vectors = sample_rows()
        node = parse(where)
        expected = {f"r{i}" for i, m in enumerate(metadatas) if matches(node, m)}
        assert filled.count(where) == len(expected)
        hits = filled.retrieve(query_vector=vectors[0], topk=ROWS, where=where)
        assert {h["id"] for h in hits} == expected
        order = [f"r{i}" for i in np.argsort(-(vectors @ vectors[0]))]
        few = filled.retrieve(query_vector=vectors[0], topk=5, where=where)
        assert [h["id"] for h in few] == [i for i in order if i in expected][:5]

    def test_filters_see_changes(self, filled: Any) -> None:
        where = {"kind": "a", "year": {"$gt": 2010}}
        before = filled.count(where)
        filled.insert("new", {"kind": "a", "year": 2019}, "new", vector=np.ones(DIM))
        assert filled.count(where) == before + 1
        filled.update("new", metadata={"kind": "a", "year": 1999})
        assert filled.count(where) == before
        filled.update("new", metadata={"kind": "a", "year": 2011})
        assert filled.count(where) == before + 1
        filled.delete("new")
        assert filled.count(where) == before

    # -- search ----------------------------------------------------------------------------------

    def test_scores_are_ordered_and_thresholds_cut(self, filled: Any) -> None:
        _, _, vectors = sample_rows()
        hits = filled.retrieve(query_vector=vectors[9], topk=20)
        scores = [h["score"] for h in hits]
        assert hits[0]["id"] == "r9"
        assert scores == sorted(scores, reverse=True)
        exact = sorted((vectors @ vectors[9]).tolist(), reverse=True)[:20]
        assert scores == pytest.approx(exact, abs=1e-4)
        cut = filled.retrieve(query_vector=vectors[9], topk=20, threshold=scores[4] - 1e-5)
        assert [h["id"] for h in cut] == [h["id"] for h in hits[:5]]

    @pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
    def test_metrics(self, manager: MemoryManager, metric: str) -> None:
        rng = np.random.default_rng(5)
        vectors = (rng.standard_normal((100, DIM)) * rng.uniform(0.2, 3, (100, 1))).astype("f4")
        query = rng.standard_normal(DIM).astype(np.float32)
        collection = self.make(manager, "metric", dim=DIM, metric=metric)
        collection.insert_many(["t"] * 100, None, [str(i) for i in range(100)], vectors=vectors)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        expected = {
            "cosine": vectors @ query / lengths,
            "dot": vectors @ query,
            "l2": 1 / (1 + np.linalg.norm(vectors - query, axis=1)),
        }[metric]
        hits = collection.retrieve(query_vector=query, topk=10)
        assert [h["id"] for h in hits] == [str(i) for i in np.argsort(-expected)[:10]]
        assert [h["score"] for h in hits] == pytest.approx(
            np.sort(expected)[::-1][:10].tolist(), rel=1e-3, abs=1e-4
        )

    def test_many_queries_equal_single_ones(self, filled: Any) -> None:
        _, _, vectors = sample_rows()
        where = {"kind": "c"}
        many = filled.retrieve_many(query_vectors=vectors[:5], topk=4, where=where)
        single = [filled.retrieve(query_vector=v, topk=4, where=where) for v in vectors[:5]]
        assert [[h["id"] for h in hits] for hits in many] == [
            [h["id"] for h in hits] for hits in single
        ]

    def test_mmr_prefers_rows_unlike_each_other(self, empty: Any) -> None:
        base = np.zeros(DIM, np.float32)
        base[0] = 1
        near = [base + 0.01 * np.eye(DIM, dtype=np.float32)[i] for i in (1, 2, 3)]
        other = base + 0.9 * np.eye(DIM, dtype=np.float32)[5]
        far = np.eye(DIM, dtype=np.float32)[7]
        empty.insert_many(list("abcdef"), None, list("abcdef"), vectors=[base, *near, other, far])
        plain = [h["id"] for h in empty.retrieve(query_vector=base, topk=2)]
        diverse = [h["id"] for h in empty.retrieve(query_vector=base, topk=2, mmr=0.4)]
        assert plain[0] == diverse[0] == "a"
        assert plain[1] in "bcd"
        assert diverse[1] in "ef"

    def test_words_and_hybrid(self, filled: Any) -> None:
        self.need("words")
        _, _, vectors = sample_rows()
        assert filled.retrieve("number42", topk=3, mode="bm25")[0]["id"] == "r42"
        where = {"kind": "a"}
        hits = filled.retrieve("topic3", topk=ROWS, mode="bm25", where=where)
        assert {h["metadata"]["row"] for h in hits} == {
            i for i in range(ROWS) if i % 9 == 3 and i % 3 == 0
        }
        for fusion in ("auto", "rrf", "convex"):
            hits = filled.retrieve(
                "number42", topk=5, mode="hybrid", query_vector=vectors[42], fusion=fusion
            )
            assert hits[0]["id"] == "r42"
            assert len(hits) == 5
        filled.delete("r42")
        assert filled.retrieve("number42", topk=3, mode="bm25") == []
        filled.insert("number42 again", {"kind": "a"}, "again", vector=vectors[1])
        assert filled.retrieve("number42", topk=3, mode="bm25")[0]["id"] == "again"

    # -- indexes ---------------------------------------------------------------------------------

    def test_indexes_follow_changes(self, filled: Any) -> None:
        _, _, vectors = sample_rows()
        filled.create_index("all")
        filled.create_index("declared", where={"kind": "a"})
        filled.create_index("callable", metadata_filter_func=lambda m: m.get("kind") == "a")
        with pytest.raises(IndexExistsError, match="declared"):
            filled.create_index("declared")
        assert {i["name"] for i in filled.list_indexes()} == {"all", "declared", "callable"}

        def ids(index: str) -> set[str]:
            hits = filled.retrieve(query_vector=vectors[0], topk=ROWS + 9, index_name=index)
            return {h["id"] for h in hits}

        expected = {f"r{i}" for i in range(0, ROWS, 3)}
        assert ids("declared") == ids("callable") == expected
        filled.insert("n", {"kind": "a"}, "new", vector=vectors[0])
        filled.update("r0", metadata={"kind": "b"})
        filled.delete("r3")
        expected = (expected | {"new"}) - {"r0", "r3"}
        assert ids("declared") == ids("callable") == expected
        assert len(ids("all")) == ROWS
        both = filled.retrieve(
            query_vector=vectors[0], topk=ROWS, index_name="declared", where={"year": 2006}
        )
        assert {h["id"] for h in both} == {f"r{i}" for i in range(6, ROWS, 60)}
        filled.drop_index("all")
        with pytest.raises(IndexNotFoundError, match="all"):
            filled.retrieve(query_vector=vectors[0], index_name="all")

    def test_callable_index_after_reopen(self, manager: MemoryManager, filled: Any) -> None:
        _, _, vectors = sample_rows()
        filled.create_index("callable", metadata_filter_func=lambda m: m.get("kind") == "a")
        again, collection = self.reopened(manager, "filled")
        with again:
            hits = collection.retrieve(query_vector=vectors[0], topk=ROWS, index_name="callable")
            assert {h["metadata"]["kind"] for h in hits} == {"a"}
            assert len(hits) == ROWS // 3
            collection.insert("n", {"kind": "a"}, "new", vector=vectors[0])
            with pytest.raises(IndexDetachedError, match="attach_filter"):
                collection.retrieve(query_vector=vectors[0], index_name="callable")
            collection.attach_filter("callable", lambda m: m.get("kind") == "a")
            hits = collection.retrieve(query_vector=vectors[0], topk=ROWS, index_name="callable")
            assert len(hits) == ROWS // 3 + 1

    # -- life ------------------------------------------------------------------------------------

    def test_everything_is_there_after_reopen(self, manager: MemoryManager, filled: Any) -> None:
        _, metadatas, vectors = sample_rows()
        filled.create_index("declared", where={"kind": "b"})
        filled.add_metadata_field("kind")
        filled.delete("r1")
        filled.update("r2", "changed", vector=vectors[2])
        again, collection = self.reopened(manager, "filled")
        with again:
            assert len(collection) == ROWS - 1
            assert collection.get("r1") is None
            assert collection.get("r2")["text"] == "changed"
            assert collection.get("r9")["metadata"] == metadatas[9]
            assert collection.retrieve(query_vector=vectors[9], topk=1)[0]["id"] == "r9"
            hits = collection.retrieve(query_vector=vectors[0], topk=ROWS, index_name="declared")
            assert {h["metadata"]["kind"] for h in hits} == {"b"}
            assert collection.metadata_fields == ("kind",)

    def test_names_are_unique_and_known(self, manager: MemoryManager, filled: Any) -> None:
        with pytest.raises(CollectionExistsError, match="filled"):
            self.make(manager, "filled", dim=DIM)
        assert len(filled) == ROWS
        with pytest.raises(CollectionNotFoundError, match="other"):
            manager.connect_collection("other")
        manager.delete_collection("filled")
        assert manager.list_collections() == []
        fresh = self.make(manager, "filled", dim=DIM)
        assert len(fresh) == 0

    def test_another_embedding_model_is_refused(self, manager: MemoryManager) -> None:
        model = KeywordModel("one")
        collection = self.make(manager, "model", embedding_model=model)
        collection.insert("alpha beta", {"n": 1})
        collection.insert("gamma delta", {"n": 2})
        assert collection.retrieve("gamma", topk=1)[0]["metadata"] == {"n": 2}
        manager.close()
        with MemoryManager(manager.data_dir) as again:
            with pytest.raises(EmbeddingMismatchError, match="one"):
                again.connect_collection("model", embedding_model=KeywordModel("two"))
            same = again.connect_collection("model", embedding_model=KeywordModel("one"))
            assert same.retrieve("alpha", topk=1)[0]["metadata"] == {"n": 1}

    def test_jsonl_round_trip(self, manager: MemoryManager, filled: Any, tmp_path: Path) -> None:
        _, metadatas, vectors = sample_rows()
        file = tmp_path / "rows.jsonl"
        assert filled.export_jsonl(file) == ROWS
        copy = self.make(manager, "copy", dim=DIM)
        assert copy.import_jsonl(file) == ROWS
        assert copy.get("r17")["metadata"] == metadatas[17]
        assert copy.retrieve(query_vector=vectors[17], topk=1)[0]["id"] == "r17"
        with pytest.raises(DuplicateIdError):
            copy.import_jsonl(file)
        assert copy.import_jsonl(file, on_conflict="skip") == 0
        assert copy.import_jsonl(file, on_conflict="replace") == ROWS
        assert len(copy) == ROWS


class KeywordModel:
    """An embedding model of hashed words, without any dependency; its name is its identity."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fingerprint = f"keyword-{name}"

    def get_dim(self) -> int:
        """Elements of a vector."""
        return DIM

    def embed(self, text: str) -> FloatArray:
        """``(DIM,)`` normalised vector of one text."""
        vector: FloatArray = self.embed_many([text])[0]
        return vector

    def embed_many(self, texts: list[str]) -> FloatArray:
        """``(n, DIM)`` normalised vectors."""
        out = np.full((len(texts), DIM), 1e-3, np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.lower().split():
                row[sum(word.encode()) % DIM] += 1
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), np.float32)
