"""Measures of a ranking against ir-measures, and what counts as a document found."""

import random

import pytest

from sage.lib.errors import ItemError
from sage.lib.evaluate import (
    HitRateEvaluate,
    MAPEvaluate,
    MRREvaluate,
    NDCGEvaluate,
    PrecisionEvaluate,
    RecallEvaluate,
    SpanOverlapEvaluate,
)
from sage.lib.types import Document, Query, Retrieved

EVALUATORS = [
    (NDCGEvaluate(k=10), "ndcg@10", "nDCG@10"),
    (NDCGEvaluate(k=3), "ndcg@3", "nDCG@3"),
    (MAPEvaluate(), "map", "AP"),
    (MRREvaluate(), "mrr", "RR"),
    (MRREvaluate(k=5), "mrr@5", "RR@5"),
    (RecallEvaluate(k=5), "recall@5", "R@5"),
    (PrecisionEvaluate(k=5), "precision@5", "P@5"),
    (HitRateEvaluate(k=5), "hit@5", "Success@5"),
]


def retrieved(ids, qrels=None, **metadata):
    if qrels is not None:
        metadata["qrels"] = qrels
    passages = tuple(Document(id=each, text=each) for each in ids)
    return Retrieved(query=Query(text="q", id="1", metadata=metadata), passages=passages)


def test_values_equal_those_of_ir_measures():
    ir_measures = pytest.importorskip("ir_measures")
    draw = random.Random(3)
    documents = [f"d{n}" for n in range(30)]
    for _ in range(60):
        grades = {d: draw.choice((-1, 0, 1, 1, 2, 3)) for d in draw.sample(documents, 8)}
        if max(grades.values()) <= 0:
            continue
        ids = draw.sample(documents, draw.randrange(1, 20))
        run = [ir_measures.ScoredDoc("1", d, 100.0 - rank) for rank, d in enumerate(ids)]
        qrels = [ir_measures.Qrel("1", d, grade) for d, grade in grades.items()]
        for evaluator, name, reference in EVALUATORS:
            measure = ir_measures.parse_measure(reference)
            expected = ir_measures.calc_aggregate([measure], qrels, run)[measure]
            found = evaluator.execute(retrieved(ids, grades)).scores
            assert found == {name: pytest.approx(expected, abs=1e-6)}, (name, ids, grades)


def test_values_by_hand():
    item = retrieved(["x", "a", "b"], {"a": 1, "b": 2, "c": 1})
    for evaluator, expected in [
        (MAPEvaluate(), (1 / 2 + 2 / 3) / 3),
        (MRREvaluate(), 0.5),
        (RecallEvaluate(k=2), 1 / 3),
        (PrecisionEvaluate(k=10), 0.2),
        (HitRateEvaluate(k=1), 0.0),
        (NDCGEvaluate(k=1), 0.0),
    ]:
        item = evaluator.execute(item)
        assert item.scores[evaluator.metrics[0]] == pytest.approx(expected)
    assert len(item.scores) == 6


def test_a_question_without_relevant_documents_has_no_score():
    for evaluator, name, _ in EVALUATORS:
        assert evaluator.execute(retrieved(["a"])).scores == {name: None}
        assert evaluator.execute(retrieved(["a"], {"a": 0})).scores == {name: None}
        assert evaluator.execute(retrieved([], {"a": 1})).scores == {name: 0.0}


def test_a_passage_stands_for_its_document_once():
    passages = tuple(
        Document(id=f"{parent}#{n}", text="t", parent_id=parent)
        for n, parent in enumerate(["a", "a", "b"])
    )
    item = Retrieved(query=Query(text="q", metadata={"qrels": ["b"]}), passages=passages)
    assert MRREvaluate().execute(item).scores["mrr"] == 0.5


def test_broken_judgements_say_so():
    for qrels in ("a", 3, {"a": "high"}):
        with pytest.raises(ItemError, match="qrels"):
            MRREvaluate().execute(retrieved(["a"], qrels))


def test_spans():
    spans = [
        {"document_id": "d", "start": 10, "end": 20},
        {"document_id": "d", "start": 15, "end": 30},
    ]
    query = Query(text="q", metadata={"spans": spans})
    passages = (
        Document(id="d#1", text="x" * 10, parent_id="d", start=0, end=10),
        Document(id="d#2", text="x" * 10, parent_id="d", start=10, end=20),
        Document(id="e#1", text="x" * 20, parent_id="e", start=10, end=30),
    )
    scores = SpanOverlapEvaluate().execute(Retrieved(query=query, passages=passages)).scores
    assert scores == {
        "span_recall": 0.5,
        "span_precision": 0.25,
        "span_iou": pytest.approx(10 / (20 + 40 - 10)),
    }
    nothing = SpanOverlapEvaluate().execute(Retrieved(query=query)).scores
    assert nothing == {"span_recall": 0.0, "span_precision": 0.0, "span_iou": 0.0}
    unmarked = SpanOverlapEvaluate().execute(retrieved(["a"])).scores
    assert set(unmarked.values()) == {None}
