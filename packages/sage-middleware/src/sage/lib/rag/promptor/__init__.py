"""Promptors: a question with passages in, messages for a model out."""

from sage.lib.rag.promptor.chat import ChatPromptor
from sage.lib.rag.promptor.qa import QAPromptor

__all__ = ["ChatPromptor", "QAPromptor"]
