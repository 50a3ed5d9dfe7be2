"""Conformance suite of evaluators.

The author of an evaluator subclasses the suite in a test module and says how one is made::

    class TestMine(EvaluatorSuite):
        def make(self, **settings):
            return MyEvaluate(settings)

pytest then runs every contract below, outside of a job and inside of one.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from sage.api.local_environment import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.types import Answer, Citation, Document, Evaluation, Query, Usage
from sage.middleware.testing.retrievers import run_opened

FULL = Answer(
    text="The Nile is 6,650 km long.",
    query=Query(
        text="How long is the Nile?",
        id="q",
        answers=("6,650 km", "The Nile is 6,650 km long."),
        metadata={
            "qrels": {"nile": 1.0},
            "spans": [{"document_id": "nile", "start": 12, "end": 20}],
        },
    ),
    passages=(
        Document(
            id="nile",
            text="The Nile is 6,650 km long. It ends in Egypt.",
            score=0.9,
            parent_id="nile",
            start=0,
            end=44,
            metadata={"original_text": "The Nile is 6,650 km long. It ends in Egypt. " * 2},
        ),
        Document(id="rhine", text="The Rhine is 1,230 km long.", score=0.4),
    ),
    citations=(Citation(document_id="nile", start=0, end=26),),
    model="m",
    usage=Usage(input_tokens=20, output_tokens=8),
    cost=0.001,
    latency=0.2,
)
"""An answer that every evaluator can score."""

BARE = Answer(text="", query=Query(text=""))
"""An answer of which nothing is known."""

ODD = (
    BARE,
    attrs.evolve(FULL, text=""),
    attrs.evolve(FULL, passages=()),
    attrs.evolve(FULL, text="日本語 👩‍👩‍👧 \x00 ' -- {x}", citations=()),
    attrs.evolve(FULL, query=attrs.evolve(FULL.query, answers=(), metadata={})),
    attrs.evolve(FULL, usage=Usage(), cost=None, latency=None),
    attrs.evolve(FULL, text="word " * 500),
)


class EvaluatorSuite:
    """What users of an evaluator rely on."""

    def make(self, **settings: Any) -> Any:
        """An evaluator with these settings."""
        raise NotImplementedError

    def run(self, *items: Any) -> list[Any]:
        """Open an evaluator, give it the items, close it."""
        return run_opened(self.make(), *items)

    def test_it_sets_the_scores_that_it_names(self) -> None:
        names = set(self.make().metrics)
        assert names
        (found,) = self.run(FULL)
        assert isinstance(found, Evaluation)
        assert set(found.scores) == names

    def test_a_full_answer_has_finite_scores(self) -> None:
        (found,) = self.run(FULL)
        assert all(isinstance(v, float) and math.isfinite(v) for v in found.scores.values())

    def test_no_score_is_none_and_never_nan(self) -> None:
        for found in self.run(*ODD):
            for value in found.scores.values():
                assert value is None or math.isfinite(value)

    def test_earlier_scores_and_the_answer_stay(self) -> None:
        (found,) = self.run(Evaluation(answer=FULL, scores={"mine": 0.5, "none": None}))
        assert found.scores["mine"] == 0.5
        assert found.scores["none"] is None
        assert attrs.evolve(found.answer, metadata={}) == FULL

    def test_the_same_answer_has_the_same_scores(self) -> None:
        first, second = self.run(FULL, FULL)
        assert first.scores == second.scores

    def test_a_key_that_is_no_setting_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no_such_key"):
            self.make(no_such_key=1)

    def test_it_runs_in_a_job(self) -> None:
        found: list[Any] = []
        env = LocalEnvironment("suite")
        env.from_collection([FULL, *ODD]).map(self.make()).sink(found.append)
        env.submit().wait()
        assert [each.scores for each in found] == [each.scores for each in self.run(FULL, *ODD)]
