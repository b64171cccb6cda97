"""Postgres connections: how they are made, how long they may take, and what their faults become.

Two pools: ``request`` answers a waiting caller (short time-outs, never waits long for a
connection), ``worker`` serves background duties. SQL itself is in `records`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from timer_service.database_connection import Connector, Limits
from timer_service.errors import ConfigurationError, DatabaseUnavailable

REQUEST_POOL_WAIT_S = 0.2
REQUEST_STATEMENT_MS = 600
WORKER_POOL_WAIT_S = 5.0
WORKER_STATEMENT_MS = 30_000
IDLE_IN_TRANSACTION_MS = 2_000

_UNAVAILABLE = (
    psycopg.errors.OperationalError,
    psycopg.errors.InterfaceError,
    psycopg.errors.QueryCanceled,
    psycopg.errors.InsufficientResources,
)


def sqlalchemy_url(url: str) -> str:
    """Turn ``postgresql://…`` or ``postgres://…`` into the form that names our driver.

    Raises:
        ConfigurationError: another scheme.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ConfigurationError(
            "TIMER_DATABASE_URL must start with postgresql://, "
            f"this starts with {parts.scheme or 'nothing'}://"
        )
    return urlunsplit(parts._replace(scheme="postgresql+psycopg"))


def _make_engine(url: str, *, size: int, wait_s: float, statement_ms: int) -> Engine:
    engine = create_engine(
        sqlalchemy_url(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=wait_s,
        pool_use_lifo=True,
        hide_parameters=True,  # what customers wrote must not reach a log by way of an error
        connect_args={
            "connect_timeout": 2,
            "tcp_user_timeout": statement_ms,
            "application_name": "timer-service",
        },
    )
    Connector(Limits(statement_ms, IDLE_IN_TRANSACTION_MS)).attach(engine)
    return engine


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no free connection to Postgres in time") from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, _UNAVAILABLE):
            raise DatabaseUnavailable(
                f"Postgres did not answer: {type(error.orig).__name__}"
            ) from error
        raise


class Database:
    """One pool of connections to Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def for_requests(cls, url: str, *, size: int = 16) -> Database:
        """Make the pool for the request path: fails within a second rather than wait."""
        return cls(
            _make_engine(
                url, size=size, wait_s=REQUEST_POOL_WAIT_S, statement_ms=REQUEST_STATEMENT_MS
            )
        )

    @classmethod
    def for_workers(cls, url: str, *, size: int = 8) -> Database:
        """Make the pool for background duties and long lists."""
        return cls(
            _make_engine(
                url, size=size, wait_s=WORKER_POOL_WAIT_S, statement_ms=WORKER_STATEMENT_MS
            )
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open one transaction, committed at the end of the block.

        Raises:
            DatabaseUnavailable: no connection, a time-out, or Postgres out of resources.
        """
        with _database_errors(), self._engine.begin() as db:
            yield db

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Let each statement of the block be a transaction of its own: one round trip, not three.

        Behind a pooler the block is one transaction, as there is no other way to limit it.

        Raises:
            DatabaseUnavailable: as for ``transaction``.
        """
        with _database_errors(), self._autocommit.connect() as db:
            yield db
            db.commit()  # asks Postgres only where a transaction is open, so behind a pooler

    def close(self) -> None:
        """Close every connection of the pool."""
        self._engine.dispose()


def may_work_at_once(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is tried again at once.

    So it is for a deadlock's victim, and for a connection that Postgres closed while it lay unused
    in the pool (it restarted): the pool has thrown all of its age away with it.
    """
    return any(
        isinstance(cause, psycopg.errors.DeadlockDetected)
        or (isinstance(cause, DBAPIError) and cause.connection_invalidated)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        original = getattr(seen, "orig", None)
        if isinstance(original, BaseException):
            yield original
        seen = seen.__cause__
