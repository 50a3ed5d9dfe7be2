"""What fits: passages and turns of a conversation cut to a budget in tokens. Pure.

Predecessor: ``sage.middleware.tokens``; successor: the promptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from sage.lib.types import ChatMessage, Document

if TYPE_CHECKING:
    from sage.middleware.tokens import Tokenizer


@attrs.frozen(kw_only=True)
class FittedPassages:
    """Passages that fit, with their text as it goes into the prompt.

    Attributes:
        passages: Those that made it in; the last one may be shortened.
        texts: Their texts, labelled ``[1] `` … where asked for.
        tokens: Tokens of the texts, labels and separators.
    """

    passages: tuple[Document, ...] = ()
    texts: tuple[str, ...] = ()
    tokens: int = 0


def fit_passages(
    passages: Sequence[Document],
    budget: int,
    tokenizer: Tokenizer,
    *,
    separator: str = "\n\n",
    numbered: bool = False,
) -> FittedPassages:
    """As many passages as ``budget`` tokens hold.

    Passages are taken whole, best first; the first that does not fit is cut at a token boundary
    and the rest is left out.

    Args:
        passages: Best first.
        budget: Tokens for texts, labels and separators together.
        tokenizer: Counts and cuts.
        separator: Text between two passages.
        numbered: Put ``[1] ``, ``[2] `` … before the passages.
    """
    between = tokenizer.count(separator)
    left = budget
    kept: list[Document] = []
    texts: list[str] = []
    for number, passage in enumerate(passages, 1):
        label = f"[{number}] " if numbered else ""
        extra = (between if kept else 0) + (tokenizer.count(label) if label else 0)
        size = tokenizer.count(passage.text)
        if extra + size > left:
            shorter, size = _cut(passage, left - extra, tokenizer)
            if size > 0:
                kept.append(shorter)
                texts.append(label + shorter.text)
                left -= extra + size
            break
        kept.append(passage)
        texts.append(label + passage.text)
        left -= extra + size
    return FittedPassages(passages=tuple(kept), texts=tuple(texts), tokens=budget - left)


def fit_turns(
    turns: Sequence[ChatMessage], budget: int, tokenizer: Tokenizer, *, per_message: int = 0
) -> tuple[ChatMessage, ...]:
    """The newest turns that ``budget`` tokens hold, oldest first.

    The oldest turn goes first, whole; system messages go only when they do not fit by themselves,
    the oldest first. What remains starts with a user turn:
    an answer or a tool result whose question is gone would mislead the model, and servers refuse
    a tool result without its call.

    Args:
        turns: The conversation, oldest first.
        budget: Tokens for all of it.
        tokenizer: Counts.
        per_message: Tokens that each message costs besides its text.
    """
    sizes = [tokenizer.count(_counted(turn)) + per_message for turn in turns]
    kept: set[int] = set()
    left = budget
    newest_first = range(len(turns) - 1, -1, -1)
    for index in newest_first:
        if turns[index].role == "system":
            if sizes[index] > left:
                break
            left -= sizes[index]
            kept.add(index)
    pending: set[int] = set()
    for index in newest_first:
        if turns[index].role == "system":
            continue
        left -= sizes[index]
        if left < 0:
            break
        pending.add(index)
        if turns[index].role == "user":
            kept |= pending
            pending.clear()
    return tuple(turn for index, turn in enumerate(turns) if index in kept)


def _counted(message: ChatMessage) -> str:
    calls = "".join(f"{call.name}{call.arguments}" for call in message.tool_calls)
    return message.content + calls


def _cut(passage: Document, room: int, tokenizer: Tokenizer) -> tuple[Document, int]:
    end = tokenizer.cut(passage.text, room)
    text = passage.text[:end]
    if not text.strip():
        return passage, 0
    start = passage.start
    shorter = attrs.evolve(passage, text=text, end=None if start is None else start + end)
    return shorter, tokenizer.count(text)
