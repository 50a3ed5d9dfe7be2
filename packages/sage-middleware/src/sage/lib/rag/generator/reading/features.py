"""What speaks for a span of a sentence as the answer: named features with values around 0 to 1."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from sage.lib.rag.generator.reading.sentences import Token

LONGEST = 7
"""Most tokens of a span."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MONTHS = _words(
    "january february march april may june july august september october november december"
)
_NUMBER_WORDS = _words(
    "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
    "hundred thousand million billion trillion half third dozen first second"
)
_UNITS = _words(
    "percent % years year days hours minutes seconds months weeks miles km kilometers "
    "kilometres meters metres feet inches people times million billion thousand hundred "
    "degrees tons kg pounds acres members students dollars euros"
)
_OF = _words("of the and de von for to in a an &")
_PREPOSITIONS = _words(
    "in at on by of from to for with as near since during until between into through under "
    "over about around before after called named known like than via"
)
_BE = _words("is was are were be been being became becomes")
_WEAK = _words(
    "how each the a an of in on at by to for from with and or but as is was are were be been "
    "being it its he she they them his her their this that these those which who whom whose what "
    "when where has have had do does did not no so such than then there if while because also into "
    "about between during until since can could may might will would should must i you we"
)
_YEAR = re.compile(r"1\d{3}s?|20\d\ds?")
_BREAKS = frozenset(';:!?()[]{}"“”|')


class Sentence:
    """A candidate sentence, prepared once for all its spans.

    Args:
        words: Its tokens.
        terms: The stem of each token, ``None`` for stop words and marks.
        asked: Weight of each term of the question.
        rarity: Inverse document frequency of a term, in nats.
        score: Share of the best sentence's score, in ``[0, 1]``.
    """

    def __init__(
        self,
        words: list[Token],
        terms: list[str | None],
        asked: Mapping[str, float],
        rarity: Callable[[str], float],
        score: float,
    ) -> None:
        self.words = words
        self.terms = terms
        self.asked = asked
        self.rarity = rarity
        self.score = score
        self.low = [w.text.lower() for w in words]
        self.hits = [(i, asked[t]) for i, t in enumerate(terms) if t is not None and t in asked]
        self.weight = sum(asked.values()) or 1.0
        self.capital = [
            w.text[0].isupper() and (i > 0 or len(w.text) > 1) for i, w in enumerate(words)
        ]
        self.digit = [any(c.isdigit() for c in w.text) for w in words]
        self.number = [
            d or low in _NUMBER_WORDS for d, low in zip(self.digit, self.low, strict=True)
        ]
        self.mark = [not (w.text[0].isalnum() or w.text[0] in "$£€") for w in words]

    def spans(self) -> list[tuple[int, int]]:
        """``[i, j)`` of every possible answer: no weak word at an end, no break inside."""
        found = []
        n = len(self.words)
        for i in range(n):
            if self.mark[i] or self.low[i] in _WEAK:
                continue
            for j in range(i + 1, min(n, i + LONGEST) + 1):
                last = j - 1
                if self.words[last].text in _BREAKS:
                    break
                if self.mark[last] and self.words[last].text != "%":
                    continue
                if self.low[last] in _WEAK:
                    continue
                found.append((i, j))
        return found

    def features(self, i: int, j: int, kind: str) -> dict[str, float]:
        """Features of the span ``[i, j)`` for a question of ``kind``."""
        n = j - i
        low, capital, number = self.low, self.capital, self.number
        repeated = sum(1 for k in range(i, j) if self.terms[k] in self.asked)
        before = low[i - 1] if i else "^"
        after = low[j] if j < len(low) else "$"
        capitals = all(capital[k] or low[k] in _OF for k in range(i, j))
        year = any(_YEAR.fullmatch(self.words[k].text) for k in range(i, j))
        month = any(low[k] in _MONTHS for k in range(i, j))
        numeric = any(number[k] for k in range(i, j))
        unit = low[j - 1] in _UNITS or self.words[i].text[0] in "$£€" or "%" in low[j - 1]
        out = {
            "sentence": self.score,
            f"length{min(n, 5)}": 1.0,
            "repeats": repeated / n,
            "repeats_any": float(repeated > 0),
            "near": self._near(i, j),
            "density": self._density(i, j),
            "after_hit": float(bool(self.hits) and self.hits[-1][0] < i),
            "before_hits": float(bool(self.hits) and self.hits[0][0] >= j),
            "rare": self._rare(i, j),
            "cuts_capitals": float(
                (capital[i] and i > 1 and capital[i - 1])
                or (capital[j - 1] and j < len(low) and capital[j])
            ),
            "cuts_number": float(
                (number[i] and i > 0 and number[i - 1])
                or (numeric and j < len(low) and (number[j] or low[j] in _UNITS))
            ),
            "cuts_words": float(i > 0 and before not in _WEAK and not self.mark[i - 1])
            + float(j < len(low) and after not in _WEAK and not self.mark[j]),
            "comma_inside": float(any(low[k] == "," for k in range(i, j))),
            "weak_inside": float(any(low[k] in _WEAK for k in range(i, j))),
            "after_article": float(before in ("the", "a", "an")),
            "after_be": float(before in _BE or (i > 1 and low[i - 2] in _BE)),
            "after_preposition": float(before in _PREPOSITIONS),
            "ends_clause": float(j == len(low) or self.mark[j]),
            "starts_sentence": float(i == 0),
            "enclosed": float(before in ('"', "“", "(") and after in ('"', "”", ")")),
            "capitals": float(capitals),
            "numeric": float(numeric),
        }
        shape = (
            "year" if year else "month" if month else "quantity" if numeric and unit
            else "numeric" if numeric else "capitals" if capitals else "words"
        )  # fmt: skip
        out[f"{kind}:{shape}"] = 1.0
        out[f"{kind}:length"] = math.log(n)
        out[f"{kind}:preposition:{before}"] = float(before in ("in", "by", "on", "at", "to", "for"))
        return out

    def _near(self, i: int, j: int) -> float:
        gaps = [i - k - 1 if k < i else k - j for k, _ in self.hits if k < i or k >= j]
        return 1.0 / (1.0 + min(gaps) / 4.0) if gaps else 0.0

    def _density(self, i: int, j: int) -> float:
        total = 0.0
        for k, weight in self.hits:
            if i <= k < j:
                continue
            gap = i - k - 1 if k < i else k - j
            total += weight / (1.0 + gap / 6.0)
        return total / self.weight

    def _rare(self, i: int, j: int) -> float:
        values = [self.rarity(t) for t in self.terms[i:j] if t is not None]
        return sum(values) / len(values) / 4.0 if values else 0.0
