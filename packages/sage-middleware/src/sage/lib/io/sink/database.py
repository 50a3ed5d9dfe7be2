"""``DatabaseSink``: writes items as rows, each once by its key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from sage.common.errors import ConfigError
from sage.lib.adapt import to_dict
from sage.lib.contracts import SinkFunction
from sage.lib.errors import ItemError
from sage.lib.io.databases import column, connect, database_error, reflect
from sage.lib.io.sink.natural_batches import NaturalBatches

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

DIALECTS = ("sqlite", "postgresql")


class DatabaseSink(SinkFunction[Any]):
    """Inserts or updates a row per item: writing an item again changes nothing.

    Items are written in batches that form by themselves while the batch before is being committed,
    each in one transaction; ``execute`` returns when its item is committed. A row that the database
    refuses fails alone, by the step's ``on_error``; the others of its batch are written. The step
    option ``concurrency`` bounds how many items wait, and so the size of a batch.

    Nested values become JSON: as such in JSON columns, else as text.

    Example:
        >>> stream.sink(DatabaseSink, {"url": "sqlite:///a.db", "table": "answers", "key": ["id"]})
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            url: Database URL of SQLAlchemy (SQLite or PostgreSQL), or ``env:NAME`` or ``file:PATH``
                that holds it.
            table: Name of the table, or ``schema.table``. It exists already.
            key: Columns with a unique constraint; default: the primary key.
            columns: Column to key of the item, with dots for nested ones (``usage.input_tokens``);
                default: the item's keys that are columns.
            batch_size: Most rows of a transaction.
            on_conflict: What happens to a row whose key is there: ``update`` or ``ignore``.
        """

        url: str = attrs.field(repr=False)
        table: str
        key: tuple[str, ...] = ()
        columns: dict[str, str] = attrs.field(factory=dict)
        batch_size: int = attrs.field(default=500, validator=attrs.validators.ge(1))
        on_conflict: str = attrs.field(
            default="update", validator=attrs.validators.in_(("update", "ignore"))
        )

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._engine: Any = None
        self._table: Any = None
        self._key: list[str] = []
        self._names: tuple[str, ...] = ()
        self._batches: NaturalBatches | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Connect and read the table's columns.

        Raises:
            ConfigError: The table, a column or the key is not there, or the database is neither
                SQLite nor PostgreSQL.
            DatabaseError: The database cannot be reached.
            MissingExtraError: The extra ``sql`` is not installed.
        """
        settings = self.config
        engine = connect(settings.url, "DatabaseSink")
        try:
            if engine.dialect.name not in DIALECTS:
                raise ConfigError(
                    f"DatabaseSink writes to {' and '.join(DIALECTS)}, got {engine.dialect.name!r}"
                )
            table = reflect(engine, settings.table)
            for name in settings.columns:
                column(table, name)
            self._key = list(settings.key) or list(table.primary_key.columns.keys())
            for name in self._key:
                column(table, name)
            if not self._key:
                raise ConfigError(
                    f"the table {settings.table!r} has no primary key; set key to columns with a "
                    "unique constraint, so that an item written twice is one row"
                )
        except BaseException:
            engine.dispose()
            raise
        self._engine, self._table, self._names = engine, table, tuple(table.c.keys())
        self._batches = NaturalBatches(self._send, size=settings.batch_size)

    async def execute(self, item: Any) -> None:
        """Write one item; returns when it is committed.

        Raises:
            ItemError: It has no value for a column of the key, or no column at all.
            DatabaseError: The database refuses it or cannot be reached.
        """
        assert self._batches is not None, "open() comes before execute()"
        await self._batches.deliver(self._row(item))

    def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _row(self, item: Any) -> dict[str, Any]:
        plain = to_dict(item)
        if not isinstance(plain, Mapping):
            raise ItemError(
                f"a row needs an item with keys, got {type(item).__name__} {item!r:.80}; map it to "
                "a dictionary first"
            )
        if self.config.columns:
            row = {name: _at(plain, path) for name, path in self.config.columns.items()}
        else:
            row = {name: plain[name] for name in self._names if name in plain}
        missing = [name for name in self._key if row.get(name) is None]
        if missing:
            raise ItemError(
                f"the item has no value for the key {', '.join(missing)} of the table "
                f"{self.config.table!r}; it has {', '.join(sorted(map(str, plain)))}"
            )
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        if not isinstance(value, list | dict):
            return value
        import sqlalchemy

        data = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
        if isinstance(self._table.c[name].type, sqlalchemy.JSON):
            return orjson.loads(data)
        return data.decode()

    async def _send(self, rows: Sequence[dict[str, Any]]) -> Sequence[BaseException | None]:
        return await asyncio.to_thread(self._write, rows)

    def _write(self, rows: Sequence[dict[str, Any]]) -> list[BaseException | None]:
        """One transaction; if a row is refused, each row by itself, so that only it fails."""
        from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

        try:
            with self._engine.begin() as connection:
                for part in _alike(rows):
                    connection.execute(self._statement(part[0]), part)
            return [None] * len(rows)
        except SQLAlchemyError as error:
            refused = isinstance(error, DataError | IntegrityError) or (
                type(error) is StatementError
            )
            failure = database_error(error, f"writing to the table {self.config.table!r}")
            failure.__cause__ = error
            if len(rows) == 1 or not refused:
                return [failure] * len(rows)
            return [self._write([row])[0] for row in rows]

    def _statement(self, row: Mapping[str, Any]) -> Any:
        from sqlalchemy.dialects import postgresql, sqlite

        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(self._table)
        changed = {name: statement.excluded[name] for name in row if name not in self._key}
        if self.config.on_conflict == "ignore" or not changed:
            return statement.on_conflict_do_nothing(index_elements=self._key)
        return statement.on_conflict_do_update(index_elements=self._key, set_=changed)


def _alike(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Runs of rows with the same columns, in order: one statement each."""
    parts: list[list[dict[str, Any]]] = []
    for row in rows:
        if parts and parts[-1][0].keys() == row.keys():
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
