"""Rate limits and budgets of model calls: what a call has to pass, and what its end means.

Each HTTP attempt reserves once, waits for its turn, and settles once.

Predecessor: ``sage.kernel.scheduling``; successors: ``sage.middleware.models.openai_client`` and
the embedders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from sage.api.calls import CallUsage
from sage.common.errors import ModelError
from sage.kernel.scheduling.budget import Spend
from sage.kernel.scheduling.headers import Headers
from sage.kernel.scheduling.job_budget import NOTHING, Admission, JobBudget
from sage.kernel.scheduling.limiter import Limiter, Permit
from sage.kernel.scheduling.limits import Limit
from sage.kernel.scheduling.owner import OWNER
from sage.kernel.scheduling.registry import process_limits
from sage.kernel.scheduling.waiting import Turn

_NAMES: Final = {
    "api.openai.com": "openai",
    "api.jina.ai": "jina",
    "api.cohere.com": "cohere",
}
"""Short names of providers in the setting ``limits``, by the host of their address."""


def is_local(host: str) -> bool:
    """Whether ``host`` is this machine, a private address, or a name without a dot."""
    if host == "localhost" or ("." not in host and ":" not in host):
        return True
    if host.endswith((".local", ".internal", ".localhost")):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


class Attempt:
    """One HTTP attempt: before it, a place in the job's budget and a turn at the rate limiter.

    Wait for it, then end it with ``settle``, ``fail`` or ``break_off``; what comes second is
    ignored.

    Attributes:
        headers: Those of the response, once there is one.
    """

    def __init__(
        self, limits: ModelLimits, model: str, input_tokens: float, max_output: float | None
    ) -> None:
        self._limits = limits
        self._model = model
        self._size = input_tokens, max_output
        self._estimate = NOTHING
        self._budget: JobBudget
        self._admission: Admission | None = None
        self._permit: Permit | None = None
        self.headers: Headers = {}

    def _turns(self) -> Iterator[Turn]:
        # A call that waits for money must not hold up others at the rate limiter: the budget first.
        limiter = self._limits.limiter(self._model)
        owner = OWNER.get()
        if owner is not None and owner.budget is not None:
            self._budget = owner.budget
            self._estimate = self._spend(*limiter.expect(*self._size), self._model)
            self._admission = self._budget.admit(self._estimate, self._model, self._limits.host)
            yield self._admission
        self._permit = limiter.reserve(*self._size)
        yield self._permit

    async def turn(self) -> None:
        """Wait on the event loop."""
        try:
            for turn in self._turns():
                await turn
        except BaseException:
            self._give_up()
            raise

    def wait(self) -> None:
        """Wait in a thread.

        Raises:
            ConfigError: The job has a budget in money and the model no price.
        """
        try:
            for turn in self._turns():
                turn.wait()
        except BaseException:
            self._give_up()
            raise

    def settle(
        self,
        input_tokens: int | None,
        output_tokens: int | None,
        cached_tokens: int | None = None,
        model: str = "",
    ) -> None:
        """The call was answered; tokens as the server counted, ``None``: it did not say."""
        assert self._permit is not None
        self._permit.headers = self.headers
        self._permit.settle(input_tokens, output_tokens)
        if self._admission is not None:
            spend, expected = self._estimate, self._estimate
            if input_tokens is not None or output_tokens is not None:
                spend = self._spend(input_tokens, output_tokens, model, cached_tokens)
            # What the server does not say is taken for what was expected.
            money = expected.money if spend.money is None else spend.money
            self._admission.settle(Spend(money=money, tokens=spend.tokens))

    def fail(self, error: ModelError) -> None:
        """The call failed. What a server may have worked on counts as spent."""
        if error.data.get("kind") != "http":
            self.break_off()
            return
        assert self._permit is not None
        self._permit.headers = self.headers
        if error.status == 429 and error.data.get("retryable"):
            self._permit.refused(error.data.get("retry_after"))
        else:
            self._permit.failed(spent=False)
        if self._admission is not None:
            self._admission.withdraw()

    def break_off(self) -> None:
        """The call ended without an answer, and nobody knows what the server did."""
        assert self._permit is not None
        self._permit.failed(spent=True)
        if self._admission is not None:
            self._admission.settle(self._estimate)

    def _give_up(self) -> None:
        if self._permit is not None:
            self._permit.withdraw()
        if self._admission is not None:
            self._admission.withdraw()

    def _spend(
        self, into: int | None, out: int | None, model: str, cached: int | None = None
    ) -> Spend:
        usage = CallUsage(into, out, cached, model=model)
        limits = self._limits
        money = self._budget.price(limits.host, self._model, usage, limits.prices)
        return Spend(money=money, tokens=(into or 0) + (out or 0))


class ModelLimits:
    """What the calls of one client have to pass.

    Args:
        base_url: Address of the server.
        api_key: Gives the key in use, for its hash.
        provider: Name of the provider, where it does not follow from the address.
        limit: Limits that the client was given itself.
        prices: Prices it was given itself, money per million tokens.

    Attributes:
        host: Host of the address, as in the table of prices.
    """

    def __init__(
        self,
        base_url: str,
        api_key: Callable[[], str],
        *,
        provider: str | None = None,
        limit: Limit | None = None,
        prices: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        self.host = parts.netloc.rpartition("@")[2]
        self.prices = prices or {}
        self._provider = provider or _NAMES.get(self.host, self.host)
        self._key = api_key
        self._local = is_local(parts.hostname or "")
        self._limit = limit
        self._limiters: dict[str, Limiter] = {}

    def __repr__(self) -> str:
        return f"ModelLimits({self._provider!r})"  # never the key

    def limiter(self, model: str) -> Limiter:
        """The limiter of a model."""
        limiter = self._limiters.get(model)
        if limiter is None:
            limiter = self._limiters[model] = process_limits().limiter(
                self._provider, model, self._key(), local=self._local, limit=self._limit
            )
        return limiter

    def attempt(self, model: str, input_tokens: float, max_output: float | None) -> Attempt:
        """One attempt of a call.

        Args:
            input_tokens: A rough estimate of the tokens sent.
            max_output: Most tokens of the answer; ``None``: the request does not say.
        """
        return Attempt(self, model, input_tokens, max_output)
