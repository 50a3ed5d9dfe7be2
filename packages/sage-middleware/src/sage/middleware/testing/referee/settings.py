"""What a referee is told."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import attrs

FAULTS = ("429", "500", "503", "hang", "drop", "drop_after", "slow", "garbage")
"""What may happen to a call instead of an answer.

``429``, ``500`` and ``503`` are refusals, with ``Retry-After`` for 429 and 503; ``hang`` never
answers; ``drop`` closes the connection at once and ``drop_after`` when the work is done and on the
bill; ``slow`` takes ten times the latency; ``garbage`` is 200 with broken JSON, on the bill.
"""

PRICES: Mapping[str, tuple[Decimal, Decimal]] = {"*": (Decimal("0.15"), Decimal("0.60"))}


def _shares(instance: object, attribute: object, faults: Mapping[str, float]) -> None:
    for kind, share in faults.items():
        if kind not in FAULTS:
            raise ValueError(f"unknown fault {kind!r}; expected one of {', '.join(FAULTS)}")
        if not 0 <= share <= 1:
            raise ValueError(f"fault {kind!r}: the share of calls must be 0 to 1, got {share}")
    if sum(faults.values()) > 1:
        raise ValueError(f"the shares of all faults add up to {sum(faults.values())}, more than 1")


@attrs.frozen(kw_only=True)
class RefereeSettings:
    """Rules of a referee.

    Attributes:
        rpm, tpm: Requests and tokens per minute of each key and model; ``None``: no limit.
        window: Seconds of the limit that may be used at once after a pause: 60 as providers do,
            less to be stricter in a short run. The rate stays that of a minute.
        latency: Seconds before an answer.
        token_latency: Seconds per output token.
        seed: Of faults and lengths of answers.
        faults: Kind of fault -> share of the calls it meets.
        most_attempts: Attempts of one request that faults may meet; later ones are answered.
        retry_after: Seconds that injected refusals ask for.
        prices: Model (or ``*``) -> money per million input and output tokens.
        api_key: When set, requests without it get 401.
        dimensions: Length of embeddings.
    """

    rpm: float | None = None
    tpm: float | None = None
    window: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    latency: float = 0.0
    token_latency: float = 0.0
    seed: int = 0
    faults: Mapping[str, float] = attrs.field(factory=dict, validator=_shares)
    most_attempts: int = 3
    retry_after: float = 0.1
    prices: Mapping[str, tuple[Decimal, Decimal]] = PRICES
    api_key: str | None = None
    dimensions: int = 8
