"""Reading what a model said about passages; nothing is guessed from what cannot be read."""

from __future__ import annotations

import re

from sage.middleware.models.chat import spoken

_NUMBER = re.compile(r"(?<![\w.,-])(\d+(?:\.\d+)?)(?:\s*/\s*(\d+))?(?![\w%]|[.,]\d)")
_LIST = re.compile(r"\[\s*\d+(?:\s*[,;>\s]\s*\d+)*\s*\]")
_CHAIN = re.compile(r"\[?\d+\]?(?:\s*[>,;\n]\s*\[?\d+\]?)+")
_BARE = re.compile(r"\s*\[?(\d+)\]?\s*\.?\s*")


def read_grade(reply: str, top: float = 10.0) -> float | None:
    """The grade in a reply as a share of ``top``, or ``None``.

    Read are ``7``, ``Score: 7.5``, ``7/10``, ``Relevance: 7 out of 10``. A reply with two different
    grades, with none, or with one outside of ``0 … top`` is not readable.
    """
    text = re.sub(r"(\d)\s+out\s+of\s+(\d)", r"\1/\2", spoken(reply), flags=re.IGNORECASE)
    found = {
        (float(number), float(scale) if scale else top) for number, scale in _NUMBER.findall(text)
    }
    if len(found) != 1:
        return None
    number, scale = found.pop()
    if scale != top or number > top:
        return None
    return number / top


def read_order(reply: str, count: int) -> list[int] | None:
    """The order in a reply as indexes from 0, completed; or ``None``.

    Read are ``[2, 3, 1]`` (the last such list counts), ``2 > 3 > 1``, ``[2] > [3] > [1]``, numbers
    on lines of their own, and one bare number when there is only one to say. Repeated numbers
    count once; passages not named follow in their order. A number that no passage has makes the
    reply unreadable: the model spoke of something else.
    """
    text = spoken(reply)
    lists = [found for found in _LIST.findall(text) if re.search(r"\d\D+\d", found)]
    if lists:
        chosen = lists[-1]
    elif chains := _CHAIN.findall(text):
        chosen = max(chains, key=len)
    elif bare := _BARE.fullmatch(text):
        chosen = bare.group(1)
    else:
        return None
    named = list(dict.fromkeys(int(number) - 1 for number in re.findall(r"\d+", chosen)))
    if any(not 0 <= n < count for n in named):
        return None
    said = set(named)
    return named + [n for n in range(count) if n not in said]
