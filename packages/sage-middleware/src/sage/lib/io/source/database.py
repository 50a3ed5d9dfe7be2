"""``DatabaseSource``: the rows of a table, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.contracts import SourceFunction
from sage.lib.io.databases import column, connect, database_error, reflect


class DatabaseSource(SourceFunction[Any]):
    """Reads a table in the order of its key, a page at a time.

    Paging is by key, not by number (``WHERE key > last ORDER BY key LIMIT n``): each page costs the
    same, no connection is held while the pipeline works, and rows that are added or removed while
    it reads shift no others. Rows with a key that was already passed are not seen.

    Example:
        >>> env.from_source(DatabaseSource, {"url": "sqlite:///shop.db", "table": "orders"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            url: Database URL of SQLAlchemy, or ``env:NAME`` or ``file:PATH`` that holds it.
            table: Name of the table or view, or ``schema.table``.
            key: Columns that are unique and never NULL together; default: the primary key.
            columns: Which columns; default: all.
            where: Equality filters, column to value; a list means "one of", null "is NULL".
            page_size: Rows of one query.
            limit: Most rows; default: all.
            after: Start behind this key (one value per key column): the ``offset`` of an earlier
                run.
        """

        url: str = attrs.field(repr=False)
        table: str
        key: tuple[str, ...] = ()
        columns: tuple[str, ...] = ()
        where: dict[str, Any] = attrs.field(factory=dict)
        page_size: int = attrs.field(default=1_000, validator=attrs.validators.ge(1))
        limit: int | None = None
        after: tuple[Any, ...] = ()

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._last: tuple[Any, ...] | None = tuple(self.config.after) or None

    @property
    def offset(self) -> tuple[Any, ...] | None:
        """Key of the last row handed on; ``seek`` to it to go on after it."""
        return self._last

    def seek(self, offset: Any) -> None:
        """Start behind the row with this key; call before ``run``."""
        self._last = None if offset is None else tuple(offset)

    def run(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dictionaries, column to value.

        Raises:
            ConfigError: There is no such table or column, or the table has no key.
            DatabaseError: The database cannot be reached or refuses.
            MissingExtraError: The extra ``sql`` is not installed.
        """
        engine = connect(self.config.url, "DatabaseSource")
        from sqlalchemy.exc import SQLAlchemyError

        try:
            statement, keys, shown = self._statement(reflect(engine, self.config.table))
            left = self.config.limit
            while left is None or left > 0:
                size = self.config.page_size if left is None else min(left, self.config.page_size)
                try:
                    with engine.connect() as connection:
                        rows = connection.execute(self._page(statement, keys, size)).all()
                except SQLAlchemyError as error:
                    doing = f"reading the table {self.config.table!r}"
                    raise database_error(error, doing) from error
                for row in rows:
                    self._last = tuple(row[: len(keys)])
                    yield dict(zip(shown, row[len(keys) :], strict=True))
                if len(rows) < size:
                    return
                left = None if left is None else left - size
        finally:
            engine.dispose()

    def _statement(self, table: Any) -> tuple[Any, list[Any], list[str]]:
        import sqlalchemy

        settings = self.config
        keys = [column(table, name) for name in settings.key] or list(table.primary_key.columns)
        if not keys:
            raise ConfigError(
                f"the table {settings.table!r} has no primary key; set key to columns that are "
                "unique together"
            )
        if self._last is not None and len(self._last) != len(keys):
            raise ConfigError(
                f"after must have a value for each of {', '.join(k.name for k in keys)}, got "
                f"{len(self._last)}"
            )
        shown = list(settings.columns) or list(table.c.keys())
        # The key comes first, so that it is known whatever columns are asked for.
        labelled = [key.label(f"sage_key_{n}") for n, key in enumerate(keys)]
        statement = sqlalchemy.select(*labelled, *(column(table, name) for name in shown))
        for name, value in settings.where.items():
            target = column(table, name)
            condition = target.in_(value) if isinstance(value, list | tuple) else target == value
            statement = statement.where(condition)
        return statement.order_by(*keys), keys, shown

    def _page(self, statement: Any, keys: list[Any], size: int) -> Any:
        import sqlalchemy

        if self._last is not None:
            # Written out, because not every database compares tuples: (a > x) or (a = x and b > y)
            conditions = []
            for n, key in enumerate(keys):
                same = [k == v for k, v in zip(keys[:n], self._last, strict=False)]
                conditions.append(sqlalchemy.and_(*same, key > self._last[n]))
            statement = statement.where(sqlalchemy.or_(*conditions))
        return statement.limit(size)
