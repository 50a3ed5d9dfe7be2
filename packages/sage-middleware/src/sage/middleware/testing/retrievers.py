"""Conformance suite of retrievers.

The author of a retriever subclasses the suite in a test module and says how one is made over the
documents of ``DOCUMENTS``::

    class TestMine(RetrieverSuite):
        def make(self, tmp_path, **config):
            return MyRetriever({"corpus": my_index(DOCUMENTS), **config})

pytest then runs every contract below, outside of a job and inside of one. What a retriever cannot
do by its nature it says in ``lacks``; those tests are skipped with that reason.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sage.api.context import RuntimeContext
from sage.api.local_environment import LocalEnvironment

QUESTION = "Which river flows through Egypt?"

DOCUMENTS: tuple[Mapping[str, Any], ...] = (
    {"id": "nile", "text": "The river Nile flows through Egypt.", "metadata": {"year": 2001}},
    {"id": "rhine", "text": "The river Rhine flows through Germany.", "metadata": {"year": 2002}},
    {"id": "crash", "text": "A market crash ruins banks.", "metadata": {"year": 2003}},
    {"id": "tea", "text": "Green tea is brewed below boiling.", "metadata": {"year": 2004}},
)


class RetrieverSuite:
    """What users of a retriever rely on.

    Attributes:
        question: A question that ``expected`` answers.
        expected: Id of the document that must come first for it.
        lacks: What it cannot do: ``top_k``, ``where``, ``scores``.
    """

    question: ClassVar[str] = QUESTION
    expected: ClassVar[str] = "nile"
    lacks: ClassVar[Mapping[str, str]] = {}

    def make(self, tmp_path: Path, **config: Any) -> Any:
        """A retriever over ``DOCUMENTS``; ``config``: ``top_k`` and ``where`` as the tests need."""
        raise NotImplementedError

    def run(self, operator: Any, *items: Any) -> list[Any]:
        """Open the operator, give it the items, close it."""
        return run_opened(operator, *items)

    def environment(self) -> LocalEnvironment:
        """Where jobs run; override it to register the services that the retriever needs."""
        return LocalEnvironment("suite")

    def need(self, feature: str) -> None:
        """Skip the test if the retriever says that it lacks ``feature``."""
        if feature in self.lacks:
            pytest.skip(f"no {feature}: {self.lacks[feature]}")

    def test_the_best_passage_comes_first(self, tmp_path: Path) -> None:
        (found,) = self.run(self.make(tmp_path), self.question)
        assert found.passages[0].id == self.expected
        assert found.passages[0].text
        assert len({d.id for d in found.passages}) == len(found.passages)

    def test_the_question_comes_through_with_what_it_carries(self, tmp_path: Path) -> None:
        item = {"question": self.question, "id": "7", "answers": ["the Nile"], "user": "ada"}
        (found,) = self.run(self.make(tmp_path), item)
        query = found.query
        assert (query.text, query.id, query.answers) == (self.question, "7", ("the Nile",))
        assert query.metadata["user"] == "ada"

    def test_scores_are_there_and_ordered(self, tmp_path: Path) -> None:
        self.need("scores")
        (found,) = self.run(self.make(tmp_path), self.question)
        scores = [d.score for d in found.passages]
        assert all(isinstance(score, float) for score in scores)
        assert scores == sorted(scores, reverse=True)

    def test_top_k_is_an_upper_bound(self, tmp_path: Path) -> None:
        self.need("top_k")
        (found,) = self.run(self.make(tmp_path, top_k=1), self.question)
        assert [d.id for d in found.passages] == [self.expected]

    def test_filters_come_before_the_search(self, tmp_path: Path) -> None:
        self.need("where")
        retriever = self.make(tmp_path, top_k=1, where={"year": {"$gt": 2001}})
        (found,) = self.run(retriever, self.question)
        assert len(found.passages) == 1
        assert found.passages[0].id != self.expected

    def test_a_question_narrows_the_filter(self, tmp_path: Path) -> None:
        self.need("where")
        item = {"question": self.question, "where": {"year": 2001}}
        retriever = self.make(tmp_path, where={"year": {"$gt": 2001}})
        (found,) = self.run(retriever, item)
        assert found.passages == ()

    def test_the_same_question_gives_the_same_passages(self, tmp_path: Path) -> None:
        first, second = self.run(self.make(tmp_path), self.question, self.question)
        assert [d.id for d in first.passages] == [d.id for d in second.passages]

    def test_strange_questions_are_answered_too(self, tmp_path: Path) -> None:
        for question in ("?", "x" * 5000, "日本語の質問", "DROP TABLE; {braces} %s"):
            (found,) = self.run(self.make(tmp_path), question)
            assert found.query.text == question

    def test_it_can_be_opened_again_after_close(self, tmp_path: Path) -> None:
        retriever = self.make(tmp_path)
        for _ in range(2):
            (found,) = self.run(retriever, self.question)
            assert found.passages[0].id == self.expected

    def test_it_runs_in_a_job(self, tmp_path: Path) -> None:
        found: list[Any] = []
        env = self.environment()
        env.from_collection([self.question] * 3).map(self.make(tmp_path)).sink(found.append)
        env.submit().wait()
        assert [item.passages[0].id for item in found] == [self.expected] * 3


def run_items(operator: Any, *items: Any) -> list[Any]:
    """What an open operator makes of the items, whether its ``execute`` is asynchronous or not."""
    if not inspect.iscoroutinefunction(operator.execute):
        return [operator.execute(item) for item in items]

    async def run() -> list[Any]:
        return [await operator.execute(item) for item in items]

    return asyncio.run(run())


def run_opened(operator: Any, *items: Any) -> list[Any]:
    """What an operator makes of the items between ``open`` and ``close``."""
    ctx = RuntimeContext(job_id="suite", job_name="suite", operator="step", uid="step")
    operator.ctx = ctx
    operator.open(ctx)
    try:
        return run_items(operator, *items)
    finally:
        operator.close()
