"""The decisions of a rate limiter, for one (provider, model, key). No clocks, no I/O.

A ``Bucket`` holds a gauge of requests and one of tokens and says when a call may start, what a
response means for those that follow, and how many tokens to expect. It packs into a fixed number of
bytes, so that processes can share it.

Predecessor: ``sage.kernel.scheduling.gauge``; successor: ``sage.kernel.scheduling.limiter``.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from sage.kernel.scheduling.gauge import ADOPTED, CONFIGURED, UNKNOWN, Gauge
from sage.kernel.scheduling.headers import Facts
from sage.kernel.scheduling.limits import Limit

LONGEST_BLOCK: Final = 60.0
"""Most seconds that one ``Retry-After`` stops everybody; then one call finds out again."""

_WEIGHT: Final = 0.1
"""Weight of a new observation in the moving averages of ``expect``."""

_ENOUGH: Final = 10
"""Calls to have seen before an unknown limit is learned from a refusal."""

_OUTPUT: Final = 256.0
"""Output tokens expected of a model nobody has seen answer."""


class Ticket:
    """A reservation: places on both gauges, and what to give back."""

    __slots__ = ("request", "request_end", "token", "token_end", "tokens")

    def __init__(
        self, request: float, request_end: float, token: float, token_end: float, tokens: float
    ) -> None:
        self.request = request
        self.request_end = request_end
        self.token = token
        self.token_end = token_end
        self.tokens = tokens


class Bucket:
    """State and decisions of one limit.

    Attributes:
        requests, tokens: The gauges.
        at: Time of the last decision, seconds of the caller's clock.
        blocked: Nothing starts before this time.
        calls, throttled: Calls started, and refusals (429) so far.
        waited: Seconds that calls have waited for their turn.
        spent: Tokens of finished calls.
        ratio: Moving average of actual over estimated input tokens.
        output: Moving average of output tokens.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "at", "blocked", "calls", "throttled", "waited", "spent", "ratio", "output",
    )  # fmt: skip
    __slots__ = (*FIELDS, "requests", "tokens")
    _form: ClassVar[struct.Struct] = struct.Struct(f"<{8 + 2 * len(Gauge.FIELDS)}d")
    SIZE: ClassVar[int] = _form.size

    def __init__(self) -> None:
        self.at = self.blocked = float("-inf")
        self.calls = self.throttled = self.waited = self.spent = 0.0
        self.ratio, self.output = 1.0, _OUTPUT
        self.requests, self.tokens = Gauge(), Gauge()

    # ------------------------------------------------------------------ before a call

    def configure(self, limit: Limit) -> None:
        """Take over configured limits; what is ``None`` is left to the server's headers."""
        for gauge, given in ((self.requests, limit.rpm), (self.tokens, limit.tpm)):
            if given is not None:
                gauge.set_limit(given, CONFIGURED)
            elif gauge.origin == CONFIGURED:
                gauge.set_limit(0.0, UNKNOWN)

    def advance(self, now: float) -> None:
        """Let time pass; a clock that went back (a reboot, a corrected clock) loses nothing."""
        if now > self.at > float("-inf"):
            self.requests.advance(now - self.at)
            self.tokens.advance(now - self.at)
        elif now < self.at:
            self.requests.forget_times()
            self.tokens.forget_times()
        self.at = now
        self.blocked = min(self.blocked, now + LONGEST_BLOCK)

    def expect(self, input_tokens: float, max_output: float | None) -> tuple[float, float]:
        """Input and output tokens to reserve for a call.

        Args:
            input_tokens: A rough estimate of the prompt's.
            max_output: The request's own bound. Servers count it until the answer is there.
                Source: "Rate limits" in Anthropic's and OpenAI's API references.
        """
        return input_tokens * self.ratio, self.output if max_output is None else max_output

    def reserve(self, tokens: float, now: float) -> Ticket:
        """Take a place in the order of calls."""
        self.advance(now)
        request, token = self.requests.reserve(1.0), self.tokens.reserve(tokens)
        return Ticket(request, self.requests.reserved, token, self.tokens.reserved, tokens)

    def wait(self, ticket: Ticket, now: float) -> float:
        """Seconds until the call may start; 0: now. May have changed when they are over."""
        self.advance(now)
        return max(
            self.requests.wait(ticket.request),
            self.tokens.wait(ticket.token),
            self.blocked - now,
            0.0,
        )

    def start(self, ticket: Ticket, now: float, waited: float) -> None:
        """The call starts, after so many seconds."""
        self.calls += 1
        self.waited += waited
        self.requests.start(ticket.request_end, 1.0, now)
        self.tokens.start(ticket.token_end, ticket.tokens, now)

    def withdraw(self, ticket: Ticket, now: float) -> None:
        """The call will not be made: its place goes to those behind it."""
        self.advance(now)
        self.requests.give_back(1.0)
        self.tokens.give_back(ticket.tokens)

    # ------------------------------------------------------------------ after a call

    def settle(self, ticket: Ticket, used: float | None, now: float) -> None:
        """A call has ended.

        Args:
            used: Tokens the server counted; ``None``: not known, the estimate stands.
        """
        self.advance(now)
        if used is not None:
            self.spent += used
            self.tokens.give_back(ticket.tokens - used)

    def learn(self, estimate: float, input_tokens: float | None, output: float | None) -> None:
        """Compare an estimate of input tokens with what the server counted."""
        if input_tokens is not None and estimate > 0:
            self.ratio += _WEIGHT * (min(input_tokens / estimate, 10.0) - self.ratio)
        if output is not None:
            self.output += _WEIGHT * (output - self.output)

    def refused(self, facts: Facts, retry_after: float | None, now: float) -> None:
        """The server answered 429: nobody calls before it said so, and everybody less often."""
        self.advance(now)
        self.throttled += 1
        self.observe(facts)
        if retry_after is not None:
            self.blocked = max(self.blocked, now + min(retry_after, LONGEST_BLOCK))
        short = [
            gauge
            for gauge, left in (
                (self.requests, facts.remaining_requests),
                (self.tokens, facts.remaining_tokens),
            )
            if left is not None and left < 1
        ]
        # A few calls show no rate: then only the server's Retry-After and the retries' waits count.
        seen = self.requests.count + self.requests.before >= _ENOUGH
        for gauge in short or (self.requests, self.tokens):
            if gauge.limit or seen:
                gauge.refused(now)

    def observe(self, facts: Facts) -> None:
        """Take over what a response's headers say."""
        for gauge, limit, left in (
            (self.requests, facts.limit_requests, facts.remaining_requests),
            (self.tokens, facts.limit_tokens, facts.remaining_tokens),
        ):
            if limit is not None and gauge.origin != CONFIGURED and limit != gauge.limit:
                gauge.set_limit(limit, ADOPTED)
            if left is not None:
                gauge.remaining(left)

    # ------------------------------------------------------------------ as bytes

    def pack(self) -> bytes:
        """All fields, ``SIZE`` bytes."""
        return self._form.pack(
            *(getattr(self, name) for name in self.FIELDS),
            *(getattr(g, name) for g in (self.requests, self.tokens) for name in Gauge.FIELDS),
        )

    @classmethod
    def unpack(cls, data: bytes) -> Bucket:
        """The bucket that ``pack`` packed."""
        bucket = cls()
        values = iter(cls._form.unpack(data))
        for part, names in (
            (bucket, cls.FIELDS), (bucket.requests, Gauge.FIELDS), (bucket.tokens, Gauge.FIELDS),
        ):  # fmt: skip
            for name in names:
                setattr(part, name, next(values))
        return bucket
