"""Opens connections to Postgres, straight or by way of a pooler that lends them by transaction.

Called by `database`. A pooler (PgBouncer in transaction mode and its kin) hands each transaction
to whichever server connection is free, so nothing may be kept in a session: no settings, no
prepared statements, no session's locks. Whether there is one is found out, not configured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Connector:
    """Opens the connections of one engine and holds each to its limits.

    Straight to Postgres they are the session's, given as it starts. Behind a pooler each
    transaction brings them along with its BEGIN; so there even a single statement is a transaction
    of three round trips, and the caller of an autocommit block has to commit.
    """

    def __init__(
        self, limits: Limits, connect: Callable[..., psycopg.Connection[Any]] = psycopg.connect
    ) -> None:
        self._limits = limits
        self._connect = connect
        self._refuses_options = False

    def attach(self, engine: Engine) -> None:
        """Open this engine's connections from now on."""

        @event.listens_for(engine, "do_connect")
        def connect(
            _: Dialect, entry: ConnectionPoolEntry, cargs: Sequence[Any], cparams: dict[str, Any]
        ) -> psycopg.Connection[Any]:
            return self.open(entry, cargs, cparams)

        event.listen(engine, "begin", self.begin)

    def open(
        self, entry: ConnectionPoolEntry, cargs: Sequence[Any], cparams: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        """Connect, and note with the pool's entry whether a pooler answered."""
        plain = {**cparams, "autocommit": True}
        if not self._refuses_options:
            try:
                connection = self._connect(*cargs, **plain, options=self._limits.options)
            except psycopg.OperationalError as error:
                if not is_refusal(error):
                    raise
                self._refuses_options = True
                log.info("postgres_behind_a_pooler", found_by="options refused")
        if self._refuses_options:
            connection = self._connect(*cargs, **plain)
        is_pooled = _is_pooled(connection)
        if is_pooled:
            connection.prepare_threshold = None
        elif self._refuses_options:  # the pooler is gone
            connection.close()
            self._refuses_options = False
            return self.open(entry, cargs, cparams)
        else:
            connection.autocommit = False
        entry.info[_POOLED] = is_pooled
        return connection

    def begin(self, db: Connection) -> None:
        """Begin a transaction with its limits where the session cannot keep them."""
        if db.info.get(_POOLED):
            driver: Any = db.connection.dbapi_connection
            driver.autocommit = True  # or psycopg would send a BEGIN of its own before ours
            db.exec_driver_sql(self._limits.begin)


def is_refusal(error: psycopg.Error) -> bool:
    """Tell whether a pooler refused our options: it is there, and is asked again without them."""
    return _REFUSED in str(error)


def works_on_a_statement(connection: psycopg.Connection[Any], pid: int) -> bool:
    """Ask the server whether one of its backends works on a statement."""
    found = connection.execute(
        "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s", [pid]
    ).fetchone()
    return found is not None and bool(found[0])


def _is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether somebody stands between: he names a backend that is not the one at work.

    So one is known that takes the options and drops them (``ignore_startup_parameters = options``).
    """
    try:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    except BaseException:
        connection.close()
        raise
    return bool(backend != connection.info.backend_pid)
