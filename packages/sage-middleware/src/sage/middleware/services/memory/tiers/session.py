"""Short-term memory: the last turns of each session within a token budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.journal import Journal, writer
from sage.middleware.services.memory.kv.keys import key_of, last_part
from sage.middleware.services.memory.memory_collection.kv_collection import (
    ABSENT,
    KVMemoryCollection,
)
from sage.middleware.services.memory.tiers.provenance import Provenance
from sage.middleware.services.memory.tiers.summary import Summariser
from sage.middleware.tokens.tokenizer import Tokenizer

_ROOT = "session"
# After summarising, the window is this full: otherwise every turn would be summarised by itself.
_LOW_WATER = 0.5
_TRIES = 10


@attrs.frozen(kw_only=True)
class Turn:
    """One thing that was said.

    Attributes:
        number: Position in the session, from 1; never given twice.
        id: What makes adding it twice harmless: given by the caller or made from ``number``.
        role: ``user``, ``assistant``, ``system`` or ``tool``.
        text: What was said.
        tokens: Its length.
        at: Seconds since 1970.
        provenance: Where it comes from.
    """

    number: int
    id: str
    role: str
    text: str
    tokens: int
    at: float
    provenance: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Summary:
    """What is left of earlier turns.

    Attributes:
        text: The summary.
        tokens: Its length.
        first, last: Numbers of the first and last turn it stands for.
        ids: Ids of those turns, in order.
        at: When it was made, seconds since 1970.
    """

    text: str
    tokens: int
    first: int
    last: int
    ids: tuple[str, ...]
    at: float


@attrs.frozen(kw_only=True)
class Window:
    """A session as a model may see it.

    Attributes:
        session: Its name.
        turns: The last turns, oldest first.
        summary: What came before them, or ``None``.
        tokens: Tokens of both together.
        dropped: How many turns have left without a summary.
    """

    session: str
    turns: tuple[Turn, ...] = ()
    summary: Summary | None = None
    tokens: int = 0
    dropped: int = 0

    def messages(self) -> list[dict[str, str]]:
        """As chat messages; the summary comes first, as a system message."""
        said = [{"role": turn.role, "content": turn.text} for turn in self.turns]
        if self.summary is None:
            return said
        note = f"Summary of the conversation so far:\n{self.summary.text}"
        return [{"role": "system", "content": note}, *said]


class SessionMemory:
    """The windows of all sessions, in a ``KV`` collection.

    A window is one value, changed in one transaction: threads and processes may add to one session
    at a time, and a crash leaves it as it was before or after. The summariser runs outside of any
    transaction.

    Args:
        collection: Where the windows are kept.
        tokenizer: Counts tokens.
        max_tokens: Budget of a window, its summary included.
        summariser: Makes summaries of turns that leave; ``None`` drops them.
        summary_tokens: Budget of the summary; default: a quarter of ``max_tokens``.
        ttl: Seconds after the last turn until a session is gone.
        journal: Where changes are noted, to be undone with the checkpoints of a job.
    """

    def __init__(
        self,
        collection: KVMemoryCollection,
        tokenizer: Tokenizer,
        *,
        max_tokens: int = 2000,
        summariser: Summariser | None = None,
        summary_tokens: int | None = None,
        ttl: float | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._kv = collection
        self._journal = journal
        self._tokenizer = tokenizer
        self._budget = max_tokens
        self._summariser = summariser
        self._summary_budget = min(summary_tokens or max(1, max_tokens // 4), max_tokens)
        self._ttl = ttl

    def add(
        self,
        session: str,
        role: str,
        text: str,
        *,
        turn_id: str | None = None,
        provenance: Provenance | Mapping[str, Any] | None = None,
    ) -> Turn:
        """Add a turn; what exceeds the budget leaves the window, oldest first.

        Args:
            session: The conversation; any text.
            role: ``user``, ``assistant``, ``system`` or ``tool``.
            text: What was said.
            turn_id: Adding a turn whose id the window has already changes nothing: give one when a
                step may be run again.
            provenance: Where it comes from.

        Raises:
            InvalidInputError: ``session``, ``role`` or ``text`` is not text.
            ModelError: The summariser failed; the turn is stored and nothing was lost.
        """
        for name, value in (("session", session), ("role", role), ("text", text)):
            if not isinstance(value, str) or (name != "text" and not value):
                raise InvalidInputError(f"{name} is {value!r}; expected text")
        origin = attrs.asdict(Provenance.of(provenance))
        made: list[Turn] = []

        def append(stored: Any) -> Any:
            made.clear()
            state = _state(stored)
            known = next((t for t in state["turns"] if turn_id and t["id"] == turn_id), None)
            if known is not None:
                made.append(_turn(known))
                return stored
            number = state["next"]
            turn = Turn(
                number=number,
                id=turn_id or f"t{number}",
                role=role,
                text=text,
                tokens=self._tokenizer.count(text),
                at=time.time(),
                provenance={k: v for k, v in origin.items() if v is not None},
            )
            made.append(turn)
            turns = [*state["turns"], attrs.asdict(turn)]
            state = {**state, "next": number + 1, "turns": turns}
            new = state if self._summariser else self._dropped(state)
            if self._journal is not None:
                gone = turns[: len(turns) - len(new["turns"])]
                self._journal.turn(self._kv.name, key_of(_ROOT, session), turns[-1], gone)
            return new

        self._update(session, append)
        if self._summariser is not None:
            self._summarise(session, self._summariser)
        return made[0]

    def window(self, session: str, max_tokens: int | None = None) -> Window:
        """What a model may see of a session: never more than the budget.

        Args:
            session: The conversation; one that is not known is empty.
            max_tokens: A smaller budget than the session's.
        """
        budget = self._budget if max_tokens is None else min(max_tokens, self._budget)
        state = _state(self._kv.get(key_of(_ROOT, session), ABSENT))
        summary = _summary(state["summary"])
        left = budget
        if summary is not None:
            if summary.tokens > left:
                text = summary.text[: self._tokenizer.cut(summary.text, left)]
                summary = attrs.evolve(summary, text=text, tokens=self._tokenizer.count(text))
            left -= summary.tokens
        kept: list[Turn] = []
        for raw in reversed(state["turns"]):
            turn = _turn(raw)
            if turn.tokens > left:
                if not kept:  # the last turn is always there, cut if it must be
                    text = turn.text[: self._tokenizer.cut(turn.text, left)]
                    size = self._tokenizer.count(text)
                    if size:
                        kept.append(attrs.evolve(turn, text=text, tokens=size))
                        left -= size
                break
            kept.append(turn)
            left -= turn.tokens
        return Window(
            session=session,
            turns=tuple(reversed(kept)),
            summary=summary,
            tokens=budget - left,
            dropped=state["dropped"],
        )

    def sessions(self) -> list[str]:
        """Names of all sessions, sorted."""
        return sorted(last_part(key) for key in self._kv.keys(f"{_ROOT}/"))

    def clear(self, session: str) -> bool:
        """Forget a session; whether it was there."""
        key = key_of(_ROOT, session)
        if self._journal is not None:
            self._journal.keys(self._kv, {key: ABSENT})
            if writer() is None:  # nobody goes back to it
                self._journal.forget(self._kv.name, [key])
        return self._kv.delete(key)

    # -- inside ----------------------------------------------------------------------------------

    def _update(self, session: str, change: Callable[[Any], Any]) -> Any:
        return self._kv.update(key_of(_ROOT, session), change, self._ttl)

    def _dropped(self, state: dict[str, Any]) -> dict[str, Any]:
        leaving = self._leaving(state, self._budget)
        return {
            **state,
            "turns": state["turns"][leaving:],
            "dropped": state["dropped"] + leaving,
        }

    def _leaving(self, state: dict[str, Any], budget: int) -> int:
        """How many of the oldest turns have to go; the last one stays."""
        turns = state["turns"]
        total = sum(t["tokens"] for t in turns)
        count = 0
        while total > budget and count < len(turns) - 1:
            total -= turns[count]["tokens"]
            count += 1
        # An answer without its question confuses models, and some servers refuse it.
        while 0 < count < len(turns) - 1 and turns[count]["role"] in ("assistant", "tool"):
            count += 1
        return count

    def _summarise(self, session: str, summariser: Summariser) -> None:
        for _ in range(_TRIES):
            state = _state(self._kv.get(key_of(_ROOT, session), ABSENT))
            old = _summary(state["summary"])
            used = old.tokens if old is not None else 0
            if used + sum(t["tokens"] for t in state["turns"]) <= self._budget:
                return
            room = max(1, int((self._budget - self._summary_budget) * _LOW_WATER))
            leaving = self._leaving(state, room)
            if not leaving:
                return  # one turn alone exceeds the budget: window() cuts it
            gone = [_turn(t) for t in state["turns"][:leaving]]
            text = summariser(
                old.text if old is not None else "",
                [(t.role, t.text) for t in gone],
                self._summary_budget,
            )
            text = text[: self._tokenizer.cut(text, self._summary_budget)]
            new = Summary(
                text=text,
                tokens=self._tokenizer.count(text),
                first=old.first if old is not None else gone[0].number,
                last=gone[-1].number,
                ids=((*old.ids,) if old is not None else ()) + tuple(t.id for t in gone),
                at=time.time(),
            )
            if self._replace(session, state, gone, new):
                return

    def _replace(self, session: str, seen: dict[str, Any], gone: list[Turn], new: Summary) -> bool:
        """Put the summary in the place of its turns, unless another writer was faster."""
        done: list[bool] = []

        def swap(stored: Any) -> Any:
            state = _state(stored)
            front = [t["id"] for t in state["turns"][: len(gone)]]
            same = front == [t.id for t in gone] and state["summary"] == seen["summary"]
            done[:] = [same]
            if not same:
                return stored
            if self._journal is not None:
                key = key_of(_ROOT, session)
                left = state["turns"][: len(gone)]
                self._journal.summary(self._kv.name, key, state["summary"], attrs.asdict(new), left)
            return {**state, "turns": state["turns"][len(gone) :], "summary": attrs.asdict(new)}

        self._update(session, swap)
        return done[0]


def _state(stored: Any) -> dict[str, Any]:
    if stored is ABSENT:
        return {"next": 1, "turns": [], "summary": None, "dropped": 0}
    state: dict[str, Any] = stored
    return state


def _turn(raw: Mapping[str, Any]) -> Turn:
    return Turn(**raw)


def _summary(raw: Mapping[str, Any] | None) -> Summary | None:
    return None if raw is None else Summary(**{**raw, "ids": tuple(raw["ids"])})
