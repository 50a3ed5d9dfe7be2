"""``DocumentParser``: files in, documents out; each hostile format is read in a process of its own.

Reading order: ``limits`` (what is refused), ``text``, ``html``, ``pdf``, ``docx`` (bytes to text),
``worker`` (the process), ``operator``.
"""

from __future__ import annotations

from sage.lib.transform.parser.limits import Limits, ParseError
from sage.lib.transform.parser.operator import DocumentParser

__all__ = ["DocumentParser", "Limits", "ParseError"]
