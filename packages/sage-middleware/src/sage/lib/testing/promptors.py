"""Conformance suite of promptors.

The author of a promptor subclasses the suite in a test module and says how one is made::

    class TestMine(PromptorSuite):
        def make(self, **settings):
            return MyPromptor(settings)

pytest then runs every contract below. ``budget`` names the setting that limits the passages, if
there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from sage.api.context import RuntimeContext
from sage.lib.contracts import PromptFunction
from sage.lib.types import ChatMessage, Document, Prompt, Query, Retrieved
from sage.middleware.tokens import get_tokenizer

EVIL = ("{query}", "{{ 7*7 }}", "{% for x in y %}", "{context.__class__}", "{}", "{0}")
ROLES = {"system", "user", "assistant", "tool"}


def sample_item(question: str = "Why is the sky blue?", *texts: str) -> Retrieved:
    """A question with an id, references, metadata and passages."""
    found = texts or ("Air scatters blue light.", "Light is a wave.")
    return Retrieved(
        query=Query(text=question, id="q7", answers=("scattering",), metadata={"topic": "sky"}),
        passages=tuple(
            Document(id=f"d{n}", text=text, score=1.0 - n / 10) for n, text in enumerate(found)
        ),
    )


class PromptorSuite:
    """The contract of a promptor."""

    budget: ClassVar[str | None] = "max_context_length"

    def make(self, **settings: Any) -> PromptFunction:
        """A promptor with these settings."""
        raise NotImplementedError

    @pytest.fixture
    def promptor(self) -> Iterator[PromptFunction]:
        """An open promptor with its default settings."""
        made = _opened(self.make())
        yield made
        made.close()

    def test_an_item_becomes_messages(self, promptor: PromptFunction) -> None:
        prompt = promptor.execute(sample_item())
        assert isinstance(prompt, Prompt)
        assert prompt.messages
        assert all(isinstance(message, ChatMessage) for message in prompt.messages)
        assert {message.role for message in prompt.messages} <= ROLES
        assert prompt.messages[-1].role == "user"
        said = "\n".join(message.content for message in prompt.messages)
        assert "Why is the sky blue?" in said
        assert "Air scatters blue light." in said

    def test_the_question_stays_whole(self, promptor: PromptFunction) -> None:
        item = sample_item()
        assert promptor.execute(item).query == item.query

    def test_passages_are_those_given(self, promptor: PromptFunction) -> None:
        item = sample_item()
        texts = {passage.id: passage.text for passage in item.passages}
        for passage in promptor.execute(item).passages:
            assert passage.text
            assert texts[passage.id].startswith(passage.text)

    def test_the_same_item_gives_the_same_prompt(self, promptor: PromptFunction) -> None:
        again = _opened(self.make())
        try:
            assert promptor.execute(sample_item()) == again.execute(sample_item())
        finally:
            again.close()

    def test_the_version_is_recorded(self, promptor: PromptFunction) -> None:
        first, second = promptor.execute(sample_item()), promptor.execute(sample_item("Who?"))
        assert first.version
        assert first.version == second.version

    @pytest.mark.parametrize("evil", EVIL)
    def test_data_is_never_a_template(self, promptor: PromptFunction, evil: str) -> None:
        prompt = promptor.execute(sample_item(f"ask {evil} ask", f"text {evil} text"))
        said = "\n".join(message.content for message in prompt.messages)
        assert f"ask {evil} ask" in said
        assert f"text {evil} text" in said

    def test_plain_values_are_taken(self, promptor: PromptFunction) -> None:
        mapping = {"query": "Why?", "passages": ["Because."]}
        for item in (mapping, ("Why?", ["Because."])):
            prompt = promptor.execute(item)
            assert prompt.query.text == "Why?"
            assert prompt.passages[0].text == "Because."

    def test_the_budget_holds(self) -> None:
        if self.budget is None:
            pytest.skip("the promptor has no budget for passages")
        tokenizer = get_tokenizer()
        item = sample_item("Why?", *("word " * 40 for _ in range(5)))
        for limit in (1, 39, 40, 41, 100):
            promptor = _opened(self.make(**{self.budget: limit}))
            try:
                prompt = promptor.execute(item)
            finally:
                promptor.close()
            assert 0 < sum(tokenizer.count(p.text) for p in prompt.passages) <= limit
            assert prompt.tokens is not None
            assert prompt.tokens <= limit


def _opened(promptor: PromptFunction) -> PromptFunction:
    promptor.ctx = RuntimeContext(
        job_id="conformance", job_name="conformance", operator="promptor", uid="promptor"
    )
    promptor.open(promptor.ctx)
    return promptor
