"""Tokenizers: count and cut text in tokens, for budgets and truncation."""

from sage.middleware.tokens.registry import get_tokenizer
from sage.middleware.tokens.simple import SimpleTokenizer
from sage.middleware.tokens.tokenizer import Tokenizer

__all__ = ["SimpleTokenizer", "Tokenizer", "get_tokenizer"]
