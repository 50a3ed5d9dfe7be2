"""Transforms: documents in, documents out."""

from sage.lib.transform.markdown import MarkdownSplitter, Section, split_markdown

__all__ = ["MarkdownSplitter", "Section", "split_markdown"]
