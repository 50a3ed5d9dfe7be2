"""What database sources and sinks share: engines, tables, names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, MissingExtraError, ServiceError


class DatabaseError(ServiceError):
    """A database refused a statement, or cannot be reached."""


def connect(url: str, purpose: str) -> Any:
    """A SQLAlchemy engine for ``url``; it opens its first connection when it is used.

    Args:
        url: As SQLAlchemy writes it (``sqlite:///data.db``, ``postgresql://user@host/db``), or a
            reference to it: ``env:NAME`` or ``file:PATH``, so that no password is in a file.
        purpose: What needs it, for messages.

    Raises:
        ConfigError: The URL is none, or its reference leads nowhere.
        MissingExtraError: SQLAlchemy or the driver is not installed.
    """
    try:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError as error:
        raise MissingExtraError("sqlalchemy", "sql", purpose) from error
    try:
        parsed = sqlalchemy.make_url(_resolved(url))
    except ArgumentError as error:
        raise ConfigError(
            f"{purpose}: the url is no database URL such as sqlite:///x.db"
        ) from error
    if parsed.drivername == "postgresql":  # psycopg 3 is what the extra brings
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return sqlalchemy.create_engine(parsed, pool_pre_ping=True)
    except NoSuchModuleError as error:
        raise ConfigError(f"{purpose}: unknown database {parsed.drivername!r}") from error
    except ImportError as error:
        raise MissingExtraError(str(error.name), "sql", purpose) from error


def reflect(engine: Any, name: str) -> Any:
    """The table called ``name`` (or ``schema.name``) as the database has it.

    Raises:
        ConfigError: There is none; the message lists those there are.
        DatabaseError: The database cannot be reached.
    """
    import sqlalchemy
    from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

    schema, _, table = name.rpartition(".")
    try:
        return sqlalchemy.Table(
            table, sqlalchemy.MetaData(), schema=schema or None, autoload_with=engine
        )
    except NoSuchTableError as error:
        known = sorted(sqlalchemy.inspect(engine).get_table_names(schema=schema or None))
        raise ConfigError(
            f"no table {name!r}; the database has {', '.join(known) or 'none'}", table=name
        ) from error
    except SQLAlchemyError as error:
        raise database_error(error, f"reading the table {name!r}") from error


def column(table: Any, name: str) -> Any:
    """A column of a table; names never reach a statement but through this.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in table.c:
        raise ConfigError(
            f"the table {table.name!r} has no column {name!r}; it has {', '.join(table.c.keys())}"
        )
    return table.c[name]


def database_error(error: Exception, doing: str) -> DatabaseError:
    """The error of a database in our tree, without the values that were sent."""
    cause = getattr(error, "orig", None) or error
    return DatabaseError(f"{doing}: {type(cause).__name__}: {str(cause).strip()[:400]}")


def _resolved(url: str) -> str:
    kind, _, rest = url.partition(":")
    if kind == "env":
        if rest not in os.environ:
            raise ConfigError(f"the url refers to the variable {rest!r}, which is not set")
        return os.environ[rest]
    if kind == "file":
        try:
            return Path(rest).expanduser().read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(f"the url refers to {rest!r}: {error.strerror}") from error
    return url


__all__ = ["DatabaseError", "column", "connect", "database_error", "reflect"]
