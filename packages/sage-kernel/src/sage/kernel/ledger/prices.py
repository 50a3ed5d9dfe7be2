"""What model calls cost: a table with dated sources that users can add to.

Three files, later ones win: the packaged ``prices.yaml``, ``prices.yaml`` in SAGE's configuration
folder, and the one named by ``fault_tolerance.prices``. Rows without a match leave a price unknown;
it is never taken for zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from sage.api.calls import CallUsage
from sage.common.errors import ConfigError
from sage.common.paths import config_dir
from sage.kernel.checkpoint.settings import fault_tolerance

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

MILLION: Final = Decimal(1_000_000)
PACKAGED: Final = Path(__file__).with_name("prices.yaml")

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$|-\d{8}$")
_MONEY = ("input", "output", "cached", "call")
_KEYS: Final = ("provider", "model", *_MONEY, "source", "as_of")


class Price:
    """One row.

    Attributes:
        provider: Host of the provider's address; ``*``: any.
        model: Name of the model; also its dated versions (``name-2024-07-18``).
        input, output, cached: USD per million tokens.
        call: USD per call.
        source: Where the price was read.
        as_of: When, ``YYYY-MM-DD``.
    """

    __slots__ = _KEYS

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.provider = str(row.get("provider", "*"))
        self.model = str(row["model"])
        self.input, self.output, self.cached, self.call = (
            None if row.get(name) is None else Decimal(str(row[name])) for name in _MONEY
        )
        self.source = str(row.get("source", ""))
        self.as_of = str(row.get("as_of", ""))

    def cost(self, usage: CallUsage | None) -> Decimal | None:
        """USD of a call, or ``None`` when a count that has a price is not known."""
        total = self.call or Decimal(0)
        if self.input is None and self.output is None:
            return None if self.call is None else total
        if usage is None:
            return None
        if self.input is not None:
            if usage.input_tokens is None:
                return None
            cached = usage.cached_tokens or 0
            total += (usage.input_tokens - cached) * self.input / MILLION
            total += cached * (self.input if self.cached is None else self.cached) / MILLION
        if self.output is not None:
            if usage.output_tokens is None:
                return None
            total += usage.output_tokens * self.output / MILLION
        return total


class PriceTable:
    """Prices by provider and model."""

    def __init__(self, rows: Iterable[Price] = ()) -> None:
        self._rows: dict[tuple[str, str], Price] = {}
        self._found: dict[tuple[str, ...], Price | None] = {}
        for row in rows:
            self._rows[row.provider, row.model] = row

    @classmethod
    def packaged(cls) -> Self:
        """The table that comes with SAGE."""
        return cls(read_prices(PACKAGED))

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The packaged table, the user's and that of ``path``.

        Raises:
            ConfigError: A file is wrong, or ``path`` is not there.
        """
        rows = list(read_prices(PACKAGED))
        own = config_dir() / "prices.yaml"
        if own.exists():
            rows += read_prices(own)
        if path is not None:
            if not path.exists():
                raise ConfigError(f"fault_tolerance.prices: there is no file {str(path)!r}")
            rows += read_prices(path)
        return cls(rows)

    @classmethod
    def of_job(cls, ctx: RuntimeContext) -> PriceTable:
        """The table of a job: its ledger's (in a replay that of the run), else as ``load``."""
        if ctx._calls is not None:
            table: PriceTable = ctx._calls.ledger.prices
            return table
        settings = fault_tolerance(ctx.config)
        return cls.load(None if settings is None else settings.prices)

    def find(self, provider: str, *models: str) -> Price | None:
        """The row for the first of ``models`` that has one, of the provider or of any."""
        asked = (provider, *models)
        if asked not in self._found:
            self._found[asked] = self._find(provider, models)
        return self._found[asked]

    def _find(self, provider: str, models: Iterable[str]) -> Price | None:
        for model in models:
            for name in dict.fromkeys((model, _DATED.sub("", model))):
                for host in (provider, "*"):
                    row = self._rows.get((host, name))
                    if row is not None and name:
                        return row
        return None

    def cost(
        self,
        provider: str,
        model: str,
        usage: CallUsage | None,
        own: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Decimal | None:
        """USD of a call; ``None``: not known.

        Args:
            provider: Host of the provider.
            model: The model asked for.
            usage: What the call used.
            own: Prices of the step itself, which go first.
        """
        if usage is not None and usage.cost is not None:
            return usage.cost
        answered = usage.model if usage is not None else ""
        for name in (answered, model):
            if own and name in own:
                return Price({"model": name, **own[name]}).cost(usage)
        row = self.find(provider, *(n for n in (answered, model) if n))
        return None if row is None else row.cost(usage)


def read_prices(path: Path) -> list[Price]:
    """The rows of a price file.

    Raises:
        ConfigError: Names the file, the row and what is wrong with it.
    """
    import yaml  # noqa: PLC0415 - 20 ms, only with a ledger

    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: the table of prices cannot be read: {error}") from error
    rows = data.get("prices") if isinstance(data, Mapping) else None
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: expected a list under the key 'prices', got {data!r:.60}")
    return [_price(path, number, row) for number, row in enumerate(rows)]


def _price(path: Path, number: int, row: Any) -> Price:
    where = f"{path}: prices[{number}]"
    if not isinstance(row, Mapping) or not isinstance(row.get("model"), str):
        raise ConfigError(f"{where}: must be a mapping with the key 'model', got {row!r:.80}")
    unknown = sorted(set(row) - set(_KEYS))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r} (known: {', '.join(_KEYS)})")
    try:
        price = Price(row)
    except InvalidOperation as error:
        raise ConfigError(f"{where}: a price must be a number of USD, got {dict(row)!r}") from error
    money = [getattr(price, name) for name in _MONEY]
    if all(value is None for value in money):
        raise ConfigError(f"{where}: has none of {', '.join(_MONEY)}")
    if any(value is not None and not (value.is_finite() and value >= 0) for value in money):
        raise ConfigError(f"{where}: a price must be a number >= 0, got {dict(row)!r}")
    return price
