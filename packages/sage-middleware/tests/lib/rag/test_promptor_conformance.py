import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.rag.promptor import (
    ChatPromptor,
    FewShotPromptor,
    QAPromptor,
    SummarizationPromptor,
)
from sage.lib.testing.promptors import PromptorSuite

SHOTS = [{"question": "Two and two?", "answer": "Four."}]


class TestQA(PromptorSuite):
    def make(self, **settings):
        return QAPromptor(settings)


class TestChat(PromptorSuite):
    def make(self, **settings):
        return ChatPromptor(settings)


class TestFewShot(PromptorSuite):
    def make(self, **settings):
        return FewShotPromptor({"examples": SHOTS, **settings})


class TestSummarization(PromptorSuite):
    def make(self, **settings):
        return SummarizationPromptor(settings)


@pytest.mark.parametrize(
    ("operator", "settings"),
    [
        ("QAPromptor", {}),
        ("ChatPromptor", {}),
        ("FewShotPromptor", {"examples": SHOTS}),
        ("SummarizationPromptor", {}),
    ],
)
def test_the_style_says_how_a_template_is_read(operator, settings):
    def prompt(template, style):
        made = []
        env = LocalEnvironment("styles")
        own = {} if template is None else {"template": template}
        given = {**settings, **own, "template_style": style}
        env.from_collection([("Why?", ["Air."])]).map(operator, given).sink(made.append)
        env.submit().wait(60)
        return made[0].messages[-1].content, made[0].version

    double = "{{context}} {{query}} {query}"
    single = "{context} {query}"
    braces, jinja, auto = (prompt(double, style) for style in ("braces", "jinja2", "auto"))
    assert braces[0] == "{Air.} {Why?} Why?"
    assert jinja[0] == auto[0] == "Air. Why? {query}"
    assert jinja[1] == auto[1] != braces[1]
    assert prompt(single, "braces") == prompt(single, "auto")
    # The style is that of the user's templates, not of those that come with the operators.
    assert prompt(None, "jinja2") == prompt(None, "braces") == prompt(None, "auto")
    with pytest.raises(ConfigError, match="auto, braces or jinja2, got 'mustache'"):
        prompt(single, "mustache")
