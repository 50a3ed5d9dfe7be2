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
