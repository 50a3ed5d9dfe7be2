"""Conformance suite of generators.

The author of a generator subclasses the suite in a test module and says how one is made::

    class TestMine(GeneratorSuite):
        def make(self, **settings):
            return MyGenerator({"model": "m", **settings})

pytest then runs every contract below, outside of a job and inside of one. A fixture of the test
module may start the server that the generator asks.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from sage.api.local_environment import LocalEnvironment
from sage.lib.types import Answer, ChatMessage, Document, Prompt, Query
from sage.middleware.testing.retrievers import run_opened

PASSAGES = (
    Document(id="nile", text="The Nile is 6,650 km long.", score=0.9, parent_id="a"),
    Document(id="rhine", text="The Rhine is 1,230 km long.", score=0.4),
)
ODD = ("?", "{query} {{ 7*7 }} %s", "日本語の質問 👩‍👩‍👧", "line\nline\ttab", "long " * 2000)


def sample_prompt(question: str = "How long is the Nile?", identity: str = "q7") -> Prompt:
    """A prompt as promptors make it, with its question and passages."""
    query = Query(text=question, id=identity, answers=("6,650 km",), metadata={"topic": "rivers"})
    text = "\n".join(passage.text for passage in PASSAGES)
    message = ChatMessage(role="user", content=f"{text}\n\nQuestion: {question}\nAnswer:")
    return Prompt(messages=(message,), query=query, passages=PASSAGES, version="v1", tokens=20)


class GeneratorSuite:
    """What users of a generator rely on."""

    def make(self, **settings: Any) -> Any:
        """A generator with these settings."""
        raise NotImplementedError

    def run(self, *items: Any) -> list[Any]:
        """Open a generator, give it the items, close it."""
        return run_opened(self.make(), *items)

    def test_an_answer_keeps_what_led_to_it(self) -> None:
        prompt = sample_prompt()
        (answer,) = self.run(prompt)
        assert isinstance(answer, Answer)
        assert answer.text.strip()
        assert answer.query == prompt.query
        assert answer.passages == prompt.passages
        assert answer.prompt == prompt
        assert answer.model

    def test_what_it_took_is_a_number_or_unknown(self) -> None:
        (answer,) = self.run(sample_prompt())
        usage = answer.usage
        for value in (usage.input_tokens, usage.output_tokens, answer.cost, answer.latency):
            assert value is None or (math.isfinite(value) and value >= 0)
        assert answer.retries >= 0

    def test_citations_are_spans_of_the_passages(self) -> None:
        (answer,) = self.run(sample_prompt())
        texts = {passage.id: passage.text for passage in answer.passages}
        for citation in answer.citations:
            assert 0 <= citation.start < citation.end <= len(texts[citation.document_id])

    def test_odd_questions_are_answered_too(self) -> None:
        answers = self.run(*(sample_prompt(text, f"q{n}") for n, text in enumerate(ODD)))
        assert [answer.query.text for answer in answers] == list(ODD)

    def test_what_is_no_prompt_is_refused(self) -> None:
        with pytest.raises(ValueError, match="42"):  # ItemError is one
            self.run(42)

    def test_it_can_be_opened_again_after_close(self) -> None:
        operator = self.make()
        for _ in range(2):
            (answer,) = run_opened(operator, sample_prompt())
            assert answer.text.strip()

    def test_in_a_job_every_question_gets_its_answer(self) -> None:
        prompts = [sample_prompt(f"How long is river {n}?", f"q{n}") for n in range(12)]
        found: list[Any] = []
        env = LocalEnvironment("suite")
        env.from_collection(prompts).map(self.make()).sink(found.append)
        env.submit().wait()
        assert [(a.query.id, a.query.text) for a in found] == [
            (p.query.id, p.query.text) for p in prompts
        ]
