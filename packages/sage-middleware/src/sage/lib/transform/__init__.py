"""Transforms: documents in, documents out."""

from sage.lib.transform.character import CharacterSplitter
from sage.lib.transform.embed import Embed
from sage.lib.transform.markdown import MarkdownSplitter, Section, split_markdown
from sage.lib.transform.normalizer import DataNormalizer
from sage.lib.transform.parser import DocumentParser, ParseError
from sage.lib.transform.recursive import RecursiveSplitter
from sage.lib.transform.sentence import SentenceSplitter, sentences
from sage.lib.transform.token import TokenSplitter

__all__ = [
    "CharacterSplitter",
    "DataNormalizer",
    "DocumentParser",
    "Embed",
    "MarkdownSplitter",
    "ParseError",
    "RecursiveSplitter",
    "Section",
    "SentenceSplitter",
    "TokenSplitter",
    "sentences",
    "split_markdown",
]
