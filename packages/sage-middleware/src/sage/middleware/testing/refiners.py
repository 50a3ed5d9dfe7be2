"""Conformance suite of refiners.

The author of a refiner subclasses the suite in a test module and says how one is made::

    class TestMine(RefinerSuite):
        extractive = True

        def make(self, **config):
            return MyRefiner(config)

pytest then runs every contract below, outside of a job and inside of one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from sage.api.local_environment import LocalEnvironment
from sage.middleware.testing.retrievers import run_opened
from sage.middleware.tokens import get_tokenizer

QUESTION = "Which river flows through Egypt?"
NILE = (
    "Many rivers are long. The river Nile flows through Egypt. It has two sources. Boats sail on "
    "it. Crops grow beside it."
)
TEXTS = (
    "Tea is brewed below boiling. It is green or black. Some like it with milk.",
    NILE,
    NILE,
    "Banks fail in a crash. Markets recover.",
)


class RefinerSuite:
    """What users of a refiner rely on.

    Attributes:
        extractive: Whether everything it keeps stands in a passage it was given.
        budget: Name of the configuration key that bounds the tokens, or ``None``.
        separator: What an extractive refiner puts between pieces of one passage.
    """

    extractive: ClassVar[bool] = True
    budget: ClassVar[str | None] = None
    separator: ClassVar[str] = " … "

    def make(self, **config: Any) -> Any:
        """A refiner; ``config``: the key ``budget`` names, as the tests need."""
        raise NotImplementedError

    def run(self, operator: Any, *items: Any) -> list[Any]:
        """Open the operator, give it the items, close it."""
        return run_opened(operator, *items)

    def item(self) -> dict[str, Any]:
        """A question with its passages, as plain values."""
        passages = [
            {"id": f"d{n}", "text": text, "score": 1 - n / 10, "metadata": {"page": n}}
            for n, text in enumerate(TEXTS)
        ]
        return {"question": QUESTION, "id": "q", "answers": ["Nile"], "passages": passages}

    def test_there_is_less_and_never_more(self) -> None:
        (out,) = self.run(self.make(), self.item())
        count = get_tokenizer("simple").count
        after = sum(count(d.text) for d in out.passages)
        assert after <= sum(map(count, TEXTS))
        assert len({d.id for d in out.passages}) == len(out.passages)

    def test_what_answers_the_question_is_still_there(self) -> None:
        (out,) = self.run(self.make(), self.item())
        assert any("Nile" in d.text for d in out.passages)

    def test_the_question_comes_through(self) -> None:
        (out,) = self.run(self.make(), self.item())
        assert (out.query.text, out.query.id, out.query.answers) == (QUESTION, "q", ("Nile",))

    def test_nothing_is_made_up(self) -> None:
        if not self.extractive:
            pytest.skip("writes its own words")
        (out,) = self.run(self.make(), self.item())
        for passage in out.passages:
            for piece in passage.text.split(self.separator):
                assert any(piece in text for text in TEXTS)

    @pytest.mark.parametrize("tokens", [1, 10, 40])
    def test_the_budget_holds(self, tokens: int) -> None:
        if self.budget is None:
            pytest.skip("has no budget")
        (out,) = self.run(self.make(**{self.budget: tokens}), self.item())
        assert sum(map(get_tokenizer("simple").count, (d.text for d in out.passages))) <= tokens

    def test_no_passages_are_fine(self) -> None:
        (out,) = self.run(self.make(), {"question": QUESTION, "passages": []})
        assert out.passages == ()

    def test_empty_texts_are_fine(self) -> None:
        (out,) = self.run(self.make(), {"question": QUESTION, "passages": ["", " \n "]})
        assert not "".join(d.text for d in out.passages).strip()

    def test_it_runs_in_a_job(self) -> None:
        found: list[Any] = []
        env = LocalEnvironment("suite")
        env.from_collection([self.item()] * 3).map(self.make()).sink(found.append)
        env.submit().wait()
        assert len({tuple(d.text for d in item.passages) for item in found}) == 1
        assert len(found) == 3
