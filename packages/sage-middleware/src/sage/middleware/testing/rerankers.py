"""Conformance suite of rerankers.

The author of a reranker subclasses the suite in a test module and says how one is made::

    class TestMine(RerankerSuite):
        def make(self, **config):
            return MyReranker(config)

pytest then runs every contract below, outside of a job and inside of one. What a reranker cannot do
by its nature it says in ``lacks``; those tests are skipped with that reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from sage.api.local_environment import LocalEnvironment
from sage.middleware.testing.retrievers import run_opened

QUESTION = "Which river flows through Egypt?"

PASSAGES: tuple[Mapping[str, Any], ...] = (
    {"id": "tea", "text": "Green tea is brewed below boiling.", "score": 0.54},
    {"id": "nile", "text": "The river Nile flows through Egypt.", "score": 0.53, "start": 4,
     "end": 39, "parent_id": "atlas", "metadata": {"page": 3}},
    {"id": "crash", "text": "A market crash ruins banks.", "score": 0.52},
    {"id": "rhine", "text": "The river Rhine flows through Germany.", "score": 0.51},
)  # fmt: skip


class RerankerSuite:
    """What users of a reranker rely on.

    Attributes:
        expected: Id of the passage that must come first, or ``None`` where the order does not
            follow the words of the passages.
        lacks: What it cannot do: ``top_k``, ``ordered`` (scores that follow the order),
            ``all`` (keep every passage without ``top_k``), ``unscored`` (passages without scores).
    """

    expected: ClassVar[str | None] = "nile"
    lacks: ClassVar[Mapping[str, str]] = {}

    def make(self, **config: Any) -> Any:
        """A reranker; ``config``: ``top_k`` as the tests need."""
        raise NotImplementedError

    def run(self, operator: Any, *items: Any) -> list[Any]:
        """Open the operator, give it the items, close it."""
        return run_opened(operator, *items)

    def need(self, feature: str) -> None:
        """Skip the test if the operator says that it lacks ``feature``."""
        if feature in self.lacks:
            pytest.skip(f"no {feature}: {self.lacks[feature]}")

    def item(self, **more: Any) -> dict[str, Any]:
        """A question with its passages, as plain values."""
        return {"question": QUESTION, "id": "q", "answers": ["Nile"], "passages": PASSAGES, **more}

    def test_no_passage_is_invented_lost_or_changed(self) -> None:
        (out,) = self.run(self.make(), self.item())
        given = {d["id"]: d for d in PASSAGES}
        assert len({d.id for d in out.passages}) == len(out.passages)
        if "all" not in self.lacks:
            assert {d.id for d in out.passages} == set(given)
        for passage in out.passages:
            before = given[passage.id]
            assert passage.text == before["text"]
            assert passage.parent_id == before.get("parent_id")
            assert (passage.start, passage.end) == (before.get("start"), before.get("end"))
            assert before.get("metadata", {}).items() <= passage.metadata.items()

    def test_the_question_comes_through(self) -> None:
        (out,) = self.run(self.make(), self.item())
        assert (out.query.text, out.query.id, out.query.answers) == (QUESTION, "q", ("Nile",))

    def test_the_best_passage_comes_first(self) -> None:
        if self.expected is None:
            pytest.skip("the order does not follow the words")
        (out,) = self.run(self.make(), self.item())
        assert out.passages[0].id == self.expected

    def test_scores_follow_the_order(self) -> None:
        self.need("ordered")
        (out,) = self.run(self.make(), self.item())
        scores = [d.score for d in out.passages]
        assert all(isinstance(score, float) for score in scores)
        assert scores == sorted(scores, reverse=True)

    def test_top_k_is_an_upper_bound(self) -> None:
        self.need("top_k")
        (out,) = self.run(self.make(top_k=2), self.item())
        assert len(out.passages) == 2

    def test_no_passages_and_one_passage(self) -> None:
        none, one = self.run(
            self.make(), {"question": QUESTION, "passages": []}, self.item(passages=PASSAGES[:1])
        )
        assert none.passages == ()
        assert [d.id for d in one.passages] == ["tea"]

    def test_passages_without_scores_and_without_text(self) -> None:
        self.need("unscored")
        (out,) = self.run(self.make(), self.item(passages=[{"id": "a", "text": ""}, "some words"]))
        assert len(out.passages) == 2

    def test_items_do_not_influence_each_other(self) -> None:
        other = {"question": "tea?", "passages": PASSAGES[2:]}
        alone, _, again = self.run(self.make(), self.item(), other, self.item())
        assert [d.id for d in alone.passages] == [d.id for d in again.passages]

    def test_it_runs_in_a_job(self) -> None:
        found: list[Any] = []
        env = LocalEnvironment("suite")
        env.from_collection([self.item()] * 3).map(self.make()).sink(found.append)
        env.submit().wait()
        assert len({tuple(d.id for d in item.passages) for item in found}) == 1
        assert len(found) == 3
