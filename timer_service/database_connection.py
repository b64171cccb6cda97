"""Opens connections to Postgres, straight or by way of a pooler that lends them by transaction.

Called by `database`. A pooler (PgBouncer in transaction mode and its kin) hands each transaction
to whichever server connection is free, so nothing may be kept in a session: no settings, no
prepared statements, no session's locks. Whether there is one is found out, not configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

log = structlog.get_logger(__name__)

_POOLED = "timer_service.pooled"
_REFUSED = "unsupported startup parameter"
"""How PgBouncer refuses what it could not keep (source: its client.c, 1.18 to 1.25)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long Postgres lets a statement run and a transaction lie idle."""

    statement_ms: int
    idle_in_transaction_ms: int

    @property
    def options(self) -> str:
        """For a whole session, as it starts."""
        return (
            f"-c statement_timeout={self.statement_ms} -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={self.idle_in_transaction_ms}"
        )

    @property
    def begin(self) -> str:
        """For one transaction, in the round trip that begins it."""
        return (
            f"BEGIN; SET LOCAL statement_timeout = {self.statement_ms}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {self.idle_in_transaction_ms}"
        )


def limit_connections(engine: Engine, limits: Limits) -> None:
    """Hold every connection of an engine to limits, whatever stands between it and Postgres.

    Straight to Postgres they are the session's, given as it starts. Behind a pooler each
    transaction brings them along with its BEGIN; so there even a single statement is a transaction
    of three round trips, and the caller of an autocommit block has to commit.
    """

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, cargs: Sequence[Any], cparams: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        connection, is_pooled = _connect(dialect, cargs, cparams, limits.options)
        if is_pooled:
            connection.prepare_threshold = None
        else:
            connection.autocommit = False
        entry.info[_POOLED] = is_pooled
        return connection

    @event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        if db.info.get(_POOLED):
            driver: Any = db.connection.dbapi_connection
            driver.autocommit = True  # or psycopg would send a BEGIN of its own before ours
            db.exec_driver_sql(limits.begin)


def _connect(
    dialect: Dialect, cargs: Sequence[Any], cparams: dict[str, Any], options: str
) -> tuple[psycopg.Connection[Any], bool]:
    """Return a connection in autocommit mode, and whether a pooler answered it."""
    plain: Any = {**cparams, "autocommit": True}
    try:
        connection: Any = dialect.connect(*cargs, **plain, options=options)
    except psycopg.OperationalError as error:
        if _REFUSED not in str(error):
            raise
        return dialect.connect(*cargs, **plain), True  # type: ignore[return-value]
    # One that takes the options and drops them (`ignore_startup_parameters = options`), or keeps
    # them for one server connection only, is known by its name for the backend, which it made up.
    try:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, backend != connection.info.backend_pid
