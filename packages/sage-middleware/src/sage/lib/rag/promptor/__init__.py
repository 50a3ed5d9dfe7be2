"""Promptors: a question with passages in, messages for a model out."""

from sage.lib.rag.promptor.chat import ChatPromptor
from sage.lib.rag.promptor.few_shot import FewShotPromptor
from sage.lib.rag.promptor.qa import QAPromptor
from sage.lib.rag.promptor.summarization import SummarizationPromptor

__all__ = ["ChatPromptor", "FewShotPromptor", "QAPromptor", "SummarizationPromptor"]
