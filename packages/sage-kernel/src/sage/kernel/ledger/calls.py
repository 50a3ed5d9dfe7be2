"""The calls of one step: looked up, made, recorded.

``ctx.call`` ends here. A call returns to the step only when its response is on disk.

Predecessor: ``sage.kernel.ledger.run``; successor: ``sage.kernel.runtime``.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from sage.api.calls import CallInfo, CallUsage
from sage.kernel.ledger.current import CURRENT, Current, Named
from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.payloads import Blobs, digest_of, pack, unpack
from sage.kernel.ledger.run import AWAITED, SHARED, Recorded, RunLedger
from sage.kernel.ledger.writer import commit_async

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

CACHES: Final = ("run", "shared", "off")

_PLAIN = CallInfo()
_CLOCK = CallInfo(kind="clock", request="now")
_CO_COROUTINE: Final = 0x80


class Attempt:
    """What a step has done for one record in this attempt.

    Attributes:
        record: Id of the record.
        counts: Calls so far by request: the next equal one is another call.
        repeated: Whether calls of an earlier attempt may be there.
        calls: Calls made inside of the step's own function.
        outputs: Outputs noted under this record id.
    """

    __slots__ = ("calls", "counts", "outputs", "record", "repeated")

    def __init__(self, record: str, *, repeated: bool = False) -> None:
        self.record = record
        self.counts: dict[bytes, int] = {}
        self.repeated = repeated
        self.calls = 0
        self.outputs = 0

    def again(self) -> Attempt:
        """The next attempt, in which equal requests are the same calls again."""
        return Attempt(self.record, repeated=True)

    def count(self, request: bytes) -> int:
        """How many equal requests came before."""
        nth = self.counts.get(request, 0)
        self.counts[request] = nth + 1
        return nth


class Request:
    """One call, before it is made.

    Attributes:
        packed: What is asked, as the database keeps it; ``blobs`` are its pieces.
        digest: Digest of what is asked.
        ordinal: How many equal requests the record made before.
    """

    __slots__ = ("_calls", "attempt", "blobs", "digest", "info", "ordinal", "packed")

    def __init__(
        self,
        calls: StepCalls,
        attempt: Attempt,
        info: CallInfo,
        packed: bytes,
        blobs: Blobs,
        digest: bytes,
        ordinal: int,
    ) -> None:
        self._calls = calls
        self.attempt = attempt
        self.info = info
        self.packed = packed
        self.blobs = blobs
        self.digest = digest
        self.ordinal = ordinal

    @property
    def size(self) -> int:
        """Bytes of what is asked."""
        return len(self.packed) + sum(len(data) for _, data in self.blobs)

    def value(self) -> Any:
        """What is asked."""
        return unpack(self.packed, dict(self.blobs).__getitem__, "a request")

    @property
    def key(self) -> str:
        """Name of the call in its run."""
        calls = self._calls
        return calls.ledger.key(
            self.attempt.record, calls.uid, calls.version, self.digest, self.ordinal
        )


class StepCalls:
    """Makes the calls of one step in one subtask.

    Args:
        ledger: The calls of the run.
        context: The step's context: gives record ids and counters.
        version: Code version of the step.
        cache: ``run``: a call of this run is not made twice; ``shared``: nor one that a step of any
            run made that shares its calls; ``off``: every call is made.
    """

    def __init__(
        self, ledger: RunLedger, context: RuntimeContext, *, version: str, cache: str = "run"
    ) -> None:
        self.ledger = ledger
        self.context = context
        self.version = version
        self.cache = cache
        self.uid = context.uid
        self._where = f"a call of step {context.operator!r}"
        self._step: int | None = None
        self._attempt = Attempt("")

    @property
    def step(self) -> int:
        """Number of the step in the ledger."""
        if self._step is None:
            self._step = self.ledger.step_id(self.uid, self.context.operator, self.version)
        return self._step

    # ------------------------------------------------------------------ calls

    def call(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        info: Any,
    ) -> Any:
        """Make a call or take its response from the ledger; an awaitable for async functions."""
        info = info or _PLAIN
        asked = self.request(self.attempt(), function, args, kwargs, info)
        asked.attempt.calls += 1
        if is_async(function):
            return self._call_async(function, args, kwargs, asked)
        if self.cache == "shared" and self.ledger.mode == "record" and not on_loop():
            return self._single_flight(function, args, kwargs, asked)
        found = self.find(asked)
        if found is not None:
            value = self.take(asked, found)
            return _ready(value) if found.flags & AWAITED else value
        return self._make(function, args, self._with_key(kwargs, asked), asked)

    def call_many(
        self,
        function: Callable[[list[Any]], Any],
        requests: Sequence[Any],
        info: CallInfo | None,
        records: Sequence[int] | None,
    ) -> Any:
        """See ``RuntimeContext.call_many``."""
        from sage.kernel.ledger.many import call_many  # noqa: PLC0415 - it is built on this module

        return call_many(self, function, requests, info, records)

    def record_ids(self) -> list[str]:
        """Ids of the records in hand."""
        current = CURRENT.get()
        if current is None:
            record = self.context.record_id
            return [] if record is None else [record]
        return [r for at in range(current.count) if (r := current.record_id(at)) is not None]

    def request(
        self,
        attempt: Attempt,
        function: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        info: CallInfo,
    ) -> Request:
        """The identity of a call.

        Raises:
            StateEncodingError: An argument cannot be stored.
        """
        what = info.request
        if what is None:
            what = [_name_of(function), list(args), dict(sorted(kwargs.items()))]
        blobs: Blobs = []
        packed = pack(what, self._where, blobs)
        digest = digest_of(f"{info.kind}\0{info.model}\0".encode() + packed)
        return Request(self, attempt, info, packed, blobs, digest, attempt.count(digest))

    def attempt(self) -> Attempt:
        """What was counted for the record that the running code works on.

        Raises:
            LedgerError: No record is being worked on, or it cannot be known which.
        """
        current = CURRENT.get()
        if current is not None:
            return self.attempt_of(current, 0)
        record = self.context.record_id
        known = self._attempt
        if record != known.record or record is None:
            if record is None:
                raise LedgerError(
                    f"step {self.context.operator!r} made a call outside of the execution of an "
                    "item (in open(), or in a thread of its own), where it belongs to no record: "
                    "make it inside execute(), and hand it on to threads with contextvars"
                )
            known = self._attempt = Attempt(record)
        return known

    def attempt_of(self, current: Current, position: int) -> Attempt:
        """The same for one of the records a worker has in hand."""
        attempt = current.attempts.get((self, position))
        if attempt is None:
            record = current.record_id(position)
            if record is None:
                raise LedgerError(
                    f"step {self.context.operator!r} made a call for a record without an id: a "
                    "ledger needs the setting lineage=True"
                )
            attempt = Attempt(record, repeated=current.repeated)
            current.attempts[self, position] = attempt
        return attempt

    def again(self) -> None:
        """The engine calls the step again for the record it failed on."""
        current = CURRENT.get()
        if current is None:
            self._attempt = self._attempt.again()
            return
        for (step, position), attempt in list(current.attempts.items()):
            if step is self:
                current.attempts[step, position] = attempt.again()

    def carried(self) -> Current | None:
        """The record in hand, for another thread to work on."""
        current = CURRENT.get()
        if current is None and (record := self.context.record_id) is not None:
            current = Current(Named(record), 0)
            current.attempts[self, 0] = self.attempt()
        return current

    # ------------------------------------------------------------------ finding

    def find(self, asked: Request) -> Recorded | None:
        """The recorded response.

        Raises:
            LedgerMissError: In a replay there is none.
        """
        ledger, attempt = self.ledger, asked.attempt
        if self.cache == "off" and ledger.mode == "record":
            return None
        found = None
        if ledger.earlier or attempt.repeated:
            if attempt.repeated:
                ledger.store.drain()
            found = ledger.find(self.uid, self.version, attempt.record, asked.digest, asked.ordinal)
        if found is None and ledger.mode == "replay":
            from sage.kernel.ledger.nearest import miss  # noqa: PLC0415 - only for the message

            raise miss(self, asked)
        if found is None and self.cache == "shared" and asked.info.kind != "clock":
            found = ledger.find_shared(self.version, asked.digest)
        return found

    def take(self, asked: Request, found: Recorded) -> Any:
        """The value of a recorded response; noted as a call of its own when it was another's."""
        info = asked.info
        if info.kind != "clock":
            self.context.count("ledger_hits")
        other = found.shared or found.run != self.ledger.id
        if other and self.ledger.mode != "replay":
            row = self._row(
                asked, found.output, None, None, time.time(), 0.0, 0, None, found.id, found.flags
            )
            self._add(row, [])
        return found.value if info.unpack is None else info.unpack(found.value)

    def _single_flight(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Request
    ) -> Any:
        """For ``cache="shared"``: of equal calls under way one is made, the others wait for it."""
        from concurrent.futures import Future  # noqa: PLC0415 - only where caches are shared

        while True:
            mine: Future[None] = Future()
            other = self.ledger.shared_calls.setdefault((self.version, asked.digest), mine)
            if other is not mine:
                other.result()
                continue
            try:
                found = self.find(asked)
                if found is not None:
                    return self.take(asked, found)
                return self._make(function, args, self._with_key(kwargs, asked), asked)
            finally:
                self.ledger.shared_calls.pop((self.version, asked.digest), None)
                mine.set_result(None)

    # ------------------------------------------------------------------ making

    def _with_key(self, kwargs: Mapping[str, Any], asked: Request) -> Mapping[str, Any]:
        name = asked.info.key_argument
        return kwargs if name is None else {**kwargs, name: asked.key}

    def _make(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Request
    ) -> Any:
        started, clock = self.starting([asked]), perf_counter()
        try:
            response = function(*args, **kwargs)
            if hasattr(response, "__await__"):
                return self._awaited(response, asked, started, clock)
        except BaseException as error:
            self.failed(asked, error, started, perf_counter() - clock)
            raise
        row, blobs = self.answered(asked, response, started, perf_counter() - clock)
        self.ledger.store.add_and_wait("calls", [(row, blobs)])
        return response

    async def _call_async(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Request
    ) -> Any:
        if self.cache == "shared" and self.ledger.mode == "record":
            return await self._single_flight_async(function, args, kwargs, asked)
        found = self.find(asked)
        if found is not None:
            return self.take(asked, found)
        started, clock = self.starting([asked]), perf_counter()
        response = function(*args, **self._with_key(kwargs, asked))
        return await self._awaited(response, asked, started, clock, flags=0)

    async def _awaited(
        self, response: Any, asked: Request, started: float, clock: float, flags: int = AWAITED
    ) -> Any:
        try:
            response = await response
        except BaseException as error:
            self.failed(asked, error, started, perf_counter() - clock)
            raise
        row, blobs = self.answered(asked, response, started, perf_counter() - clock, flags)
        await commit_async(self.ledger.store, "calls", [(row, blobs)])
        return response

    async def _single_flight_async(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Request
    ) -> Any:
        import asyncio  # noqa: PLC0415 - runs on the loop
        from concurrent.futures import Future  # noqa: PLC0415 - as above

        while True:
            mine: Future[None] = Future()
            other = self.ledger.shared_calls.setdefault((self.version, asked.digest), mine)
            if other is not mine:
                await asyncio.shield(asyncio.wrap_future(other))
                continue
            try:
                found = self.find(asked)
                if found is not None:
                    return self.take(asked, found)
                started, clock = self.starting([asked]), perf_counter()
                response = function(*args, **self._with_key(kwargs, asked))
                return await self._awaited(response, asked, started, clock, flags=0)
            finally:
                self.ledger.shared_calls.pop((self.version, asked.digest), None)
                mine.set_result(None)

    # ------------------------------------------------------------------ recording

    def answered(
        self,
        asked: Request,
        response: Any,
        started: float,
        latency: float,
        flags: int = 0,
        usage: CallUsage | None = None,
    ) -> tuple[tuple[Any, ...], Blobs]:
        """The row of a call that has a response, with its payloads."""
        info = asked.info
        usage = usage or info.usage(response)
        stored = response if info.pack is None else info.pack(response)
        blobs: Blobs = []
        output = pack(stored, f"the response to {self._where}", blobs)
        cost = self.ledger.prices.cost(info.provider, info.model, usage, info.prices)
        row = self._row(asked, output, usage, cost, started, latency, 0, None, None, flags, blobs)
        self._finished(asked, usage, cost, latency, None)
        return row, blobs

    def failed(self, asked: Request, error: BaseException, started: float, latency: float) -> None:
        """Note a call that raised. Not waited for: nobody needs it after a crash."""
        usage = asked.info.usage(error)
        cost = None
        if usage is not None:
            info = asked.info
            cost = self.ledger.prices.cost(info.provider, info.model, usage, info.prices)
        text = f"{type(error).__name__}: {error}"[:500].encode(errors="backslashreplace").decode()
        retries = max(0, int(getattr(error, "attempts", 1) or 1) - 1)
        blobs: Blobs = []
        row = self._row(asked, None, usage, cost, started, latency, retries, text, None, 0, blobs)
        if self.ledger.mode != "replay":
            self._add(row, blobs)
        self._finished(asked, usage, cost, latency, error)

    def _add(self, row: tuple[Any, ...], blobs: Blobs) -> None:
        self.ledger.store.add("calls", [(row, blobs)])

    def _row(
        self,
        asked: Request,
        output: bytes | None,
        usage: CallUsage | None,
        cost: Any,
        started: float,
        latency: float,
        retries: int,
        error: str | None,
        source: int | None,
        flags: int,
        blobs: Blobs | None = None,
    ) -> tuple[Any, ...]:
        info = asked.info
        return (
            self.step,
            asked.attempt.record,
            asked.digest,
            asked.ordinal,
            self._input(asked, blobs),
            output,
            info.kind,
            info.provider or None,
            (usage.model if usage is not None else "") or info.model or None,
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.output_tokens,
            None if usage is None else usage.cached_tokens,
            None if cost is None else str(cost),
            started,
            latency,
            retries or (0 if usage is None else usage.retries),
            error,
            source,
            flags | (SHARED if self.cache == "shared" else 0),
        )

    def _input(self, asked: Request, blobs: Blobs | None) -> bytes | None:
        """What is kept of the request; nothing where another run has it."""
        if blobs is None or asked.info.kind == "clock":
            return None
        blobs += asked.blobs
        return asked.packed

    def starting(self, made: Sequence[Request]) -> float:
        """Tell the listeners of calls about to be made; the unix time."""
        notify = self.ledger.notify
        if notify is not None:
            for asked in made:
                notify(
                    "call_started",
                    operator=self.context.operator,
                    model=asked.info.model,
                    call_id=asked.key,
                )
        return time.time()

    def _finished(
        self,
        asked: Request,
        usage: CallUsage | None,
        cost: Any,
        latency: float,
        error: BaseException | None,
    ) -> None:
        notify = self.ledger.notify
        if notify is not None and asked.info.kind != "clock":
            notify(
                "call_finished",
                operator=self.context.operator,
                model=(usage.model if usage is not None else "") or asked.info.model,
                call_id=asked.key,
                usage=usage,
                latency=latency,
                error=error,
            )

    # ------------------------------------------------------------------ clock and chance

    def now(self) -> float:
        """Unix seconds, recorded."""
        asked = self.request(self.attempt(), None, (), {}, _CLOCK)
        found = self.find(asked)
        if found is not None:
            return float(self.take(asked, found))
        at = time.time()
        blobs: Blobs = []
        output = pack(at, "ctx.now()", blobs)
        # Not waited for: it is committed before, or together with, every call made after it.
        self._add(self._row(asked, output, None, None, at, 0.0, 0, None, None, 0), blobs)
        return at

    def random(self) -> Random:
        """A generator that gives the same numbers for this record in every attempt and replay."""
        return Random(self._draw(b"random"))  # noqa: S311 - reproducible on purpose

    def uuid(self) -> uuid.UUID:
        """An id that is the same for this record in every attempt and replay."""
        return uuid.UUID(bytes=self._draw(b"uuid")[:16], version=4)

    def _draw(self, what: bytes) -> bytes:
        attempt = self.attempt()
        ordinal = attempt.count(what)
        text = "\0".join((attempt.record, self.uid, str(ordinal))).encode()
        seed = self.ledger.seed_of(self.uid)
        return blake2b(text + what, key=seed, digest_size=32).digest()


def is_async(function: Any) -> bool:
    """Whether calling ``function`` makes a coroutine."""
    while True:
        inner = getattr(function, "func", None)
        if inner is None or not hasattr(function, "keywords"):
            break
        function = inner
    plain = getattr(function, "__func__", function)
    code = getattr(plain, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    return code is not None and bool(code.co_flags & _CO_COROUTINE)


def on_loop() -> bool:
    """Whether this thread runs an event loop, which must not wait."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def _name_of(function: Any) -> str:
    """Its qualified name, without the module: a script is ``__main__`` or not."""
    plain = getattr(function, "func", function)
    return getattr(plain, "__qualname__", None) or type(plain).__qualname__


async def _ready(value: Any) -> Any:
    return value
