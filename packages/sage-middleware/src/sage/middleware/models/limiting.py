"""Rate limits of model calls: which limiter a call passes, and what its end means.

Each HTTP attempt reserves once, waits for its turn, and settles once.

Predecessor: ``sage.kernel.scheduling``; successors: ``sage.middleware.models.openai_client`` and
the embedders.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from sage.common.errors import ModelError
from sage.kernel.scheduling.limiter import Limiter, Permit
from sage.kernel.scheduling.limits import Limit
from sage.kernel.scheduling.registry import process_limits

_NAMES: Final = {
    "api.openai.com": "openai",
    "api.jina.ai": "jina",
    "api.cohere.com": "cohere",
}
"""Short names of providers in the setting ``limits``, by the host of their address."""


def provider_of(base_url: str) -> str:
    """How limits name the server at an address: a short name, else ``HOST`` or ``HOST:PORT``."""
    host = urlsplit(base_url).netloc.rpartition("@")[2]
    return _NAMES.get(host, host)


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


class ModelLimits:
    """The limiters of one client, one per model.

    Args:
        provider: Name of the provider.
        api_key: Gives the key in use, for its hash.
        local: The server is on this machine or in a private network: no default limit.
        limit: Limits that the client was given itself.
    """

    def __init__(
        self,
        provider: str,
        api_key: Callable[[], str],
        *,
        local: bool,
        limit: Limit | None = None,
    ) -> None:
        self._provider = provider
        self._key = api_key
        self._local = local
        self._limit = limit
        self._limiters: dict[str, Limiter] = {}

    def __repr__(self) -> str:
        return f"ModelLimits({self._provider!r})"  # never the key

    def reserve(self, model: str, input_tokens: float, max_output: float | None) -> Permit:
        """A place in the order of calls; wait for it, then end it once."""
        limiter = self._limiters.get(model)
        if limiter is None:
            limiter = process_limits().limiter(
                self._provider, model, self._key(), local=self._local, limit=self._limit
            )
            self._limiters[model] = limiter
        return limiter.reserve(input_tokens, max_output)


def end_failed(permit: Permit, error: ModelError) -> None:
    """Tell the limiter that an attempt failed, and whether the server may have worked on it."""
    if error.data.get("kind") != "http":
        permit.failed(spent=True)
    elif error.status == 429 and error.data.get("retryable"):
        permit.refused(error.data.get("retry_after"))
    else:
        permit.failed(spent=False)
