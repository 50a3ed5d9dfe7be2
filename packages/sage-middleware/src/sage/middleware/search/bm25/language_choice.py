"""Finding the language of a collection from its first documents."""

from __future__ import annotations

from sage.middleware.search.text.detection import detect_language

_ENOUGH = 64


class LanguageChoice:
    """Keeps the first documents until they say which language they are in.

    Settled by clear evidence or after 64 documents, whichever is first. Until then the texts are
    kept, as a change of mind means that they must be indexed again.
    """

    def __init__(self) -> None:
        self.settled = False
        self._texts: dict[int, str] = {}

    def kept(self) -> list[tuple[int, str]]:
        """Documents seen so far."""
        return list(self._texts.items())

    def forget(self, slot: int) -> None:
        """The document was deleted."""
        self._texts.pop(slot, None)

    def add(self, slots: list[int], texts: list[str], *, current: str) -> str | None:
        """Considers more documents.

        Returns:
            The language to change to, or ``None`` to keep the current one.
        """
        room = max(_ENOUGH - len(self._texts), 0)
        new = dict(zip(slots[:room], texts[:room], strict=True))
        guess = detect_language([*self._texts.values(), *new.values()])
        self._texts.update(new)
        self.settled = guess.sure or len(self._texts) >= _ENOUGH
        if guess.code != current and guess.hits >= 3 and guess.lead > 1:
            return guess.code
        return None
