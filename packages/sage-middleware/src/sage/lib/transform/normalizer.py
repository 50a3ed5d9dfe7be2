"""``DataNormalizer``: one form for texts that mean the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import attrs

from sage.api.functions import MapFunction
from sage.lib.adapt import as_document
from sage.lib.contracts import DocumentLike
from sage.lib.types import Document

_LINE_ENDS = re.compile(r"\r\n?|[\u0085\u2028\u2029\v\f]")
_BLANKS = re.compile(r"[^\S\n]+")
_EDGES = re.compile(r" ?\n ?")
_LINES = re.compile(r"\n{3,}")
_SPACE = re.compile(r"\s+")
# C0 and C1 without tab and line feed; direction overrides, with which a text shows what it does not
# say; the byte-order mark; lone surrogates, which no file can hold. Joiners (ZWJ, ZWNJ) stay:
# scripts and emoji need them.
_CONTROL = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SOFT_HYPHEN = re.compile("\u00ad")
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u2010]\n(?=[a-zà-öø-ÿ])")
_ROUNDS = 8
_QUOTES = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
)


class DataNormalizer(MapFunction[DocumentLike, Document]):
    """Normalises the text of a document: Unicode form, white space, control characters.

    Applying it twice changes nothing more. Offsets into the text change, so it comes before a
    splitter; a passage that has ``start`` and ``end`` keeps them only if its text stayed the same.

    Example:
        >>> stream.map(DataNormalizer, {"whitespace": "collapse", "lowercase": True})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        r"""Settings.

        Attributes:
            unicode: ``NFC`` (composed), ``NFKC`` (also ligatures and full-width letters become
                plain ones), ``NFD``, ``NFKD`` or ``none``. Source: Unicode Annex 15.
            control: Remove control characters, direction overrides, zero-width spaces, byte-order
                marks and lone surrogates.
            whitespace: ``lines`` (one space between words, none at the ends of lines, at most one
                blank line), ``collapse`` (one space for any white space) or ``keep``. Except with
                ``keep``, all line ends become ``\n``.
            hyphenation: Join words that were hyphenated at the end of a line, as PDF files have
                them, and drop soft hyphens.
            quotes: Typographic quotation marks become ``'`` and ``"``.
            lowercase: Case-fold the text.
        """

        unicode: str = attrs.field(
            default="NFC",
            validator=attrs.validators.in_(("NFC", "NFKC", "NFD", "NFKD", "none")),
        )
        control: bool = True
        whitespace: str = attrs.field(
            default="lines", validator=attrs.validators.in_(("lines", "collapse", "keep"))
        )
        hyphenation: bool = False
        quotes: bool = False
        lowercase: bool = False

    def execute(self, item: DocumentLike) -> Document:
        """The document with its text normalised.

        Raises:
            ItemError: The item has no text.
        """
        document = as_document(item)
        text = self.normalize(document.text)
        if text == document.text:
            return document
        return attrs.evolve(document, text=text, start=None, end=None)

    def normalize(self, text: str) -> str:
        """``text`` by the settings."""
        # Each rule can make work for another (a removed character lets letters compose): the text
        # is settled when a round changes nothing, nearly always the second.
        for _ in range(_ROUNDS):
            if (found := self._once(text)) == text:
                break
            text = found
        return text

    def _once(self, text: str) -> str:
        settings: Any = self.config
        if settings.whitespace != "keep":
            text = _LINE_ENDS.sub("\n", text)
        if settings.control:
            text = _CONTROL.sub("", text)
        if settings.hyphenation:
            text = _HYPHENATED.sub("", _SOFT_HYPHEN.sub("", text))
        if settings.lowercase:
            text = text.casefold()
        if settings.unicode != "none":
            text = unicodedata.normalize(settings.unicode, text)
        if settings.quotes:
            text = text.translate(_QUOTES)
        if settings.whitespace == "lines":
            text = _LINES.sub("\n\n", _EDGES.sub("\n", _BLANKS.sub(" ", text))).strip()
        elif settings.whitespace == "collapse":
            text = _SPACE.sub(" ", text).strip()
        return text
