"""Terms of a question and its texts, in the language they are written in."""

from __future__ import annotations

from collections.abc import Sequence

from sage.middleware.search.text import Analyzer, detect_language

_SAMPLE = 500
"""Characters of a text that its language is guessed from."""


class Terms:
    """Stems without stop words; one analyzer per language, made on first use.

    Args:
        language: ISO 639-1 code or English name, or ``auto``: guessed for each list of texts.

    Raises:
        ConfigError: The language is not known.
    """

    def __init__(self, language: str = "auto") -> None:
        self._auto = language == "auto"
        self._analyzers: dict[str, Analyzer] = {}
        if not self._auto:
            self._analyzers[""] = Analyzer(language)

    def of(self, question: str, texts: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Terms of the question, and of each text, in order, repeated as they occur."""
        analyzer = self._analyzer(question, texts)
        return analyzer.terms(question, query=True), [analyzer.terms(text) for text in texts]

    def _analyzer(self, question: str, texts: Sequence[str]) -> Analyzer:
        code = ""
        if self._auto:
            code = detect_language([question, *(text[:_SAMPLE] for text in texts[:10])]).code
        found = self._analyzers.get(code)
        if found is None:
            found = self._analyzers[code] = Analyzer(code)
        return found
