"""Postgres connections: how they are made, how long they may take, and what their faults become.

Two pools: ``request`` answers a waiting caller (short time-outs, never waits long for a
connection), ``worker`` serves background duties. SQL itself is in `records`.

A server that is there and says nothing (stopped, or behind a network that drops) is no error to the
kernel, and libpq waits two seconds at least to connect. So every wait for an answer has an end of
its own here, and on the request path what a transaction may take altogether has one. In the
background, where statements may be long, Postgres is asked whether it still works on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.abc import PQGen, PQGenConn
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from timer_service.circuit import Circuit
from timer_service.clock import monotonic_s
from timer_service.database_connection import (
    Connector,
    Limits,
    is_refusal,
    works_on_a_statement,
)
from timer_service.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable

REQUEST_POOL_WAIT_S = 0.2
REQUEST_STATEMENT_MS = 550
REQUEST_WITHIN_S = 0.7
"""All that a transaction of the request path may take: a connection, its statements, the commit."""
PATIENT_WITHIN_S = 3.0
"""The same where no gateway waits for the answer."""
WORKER_POOL_WAIT_S = 5.0
WORKER_STATEMENT_MS = 30_000
IDLE_IN_TRANSACTION_MS = 2_000
ANSWER_WITHIN_S = WORKER_STATEMENT_MS / 1000 + 5
"""By then Postgres has ended any statement itself: who says nothing longer is not there."""
SILENT_FOR_S = 1.5
"""After so long a silence a background statement asks over another connection what became of it."""
ASK_WITHIN_S = 1.5
"""What that question may take; Postgres is away where even it gets no answer."""
PAUSE_S = 1.0
"""How long callers are refused at once after Postgres could not be reached or said nothing."""

_UNAVAILABLE = (
    psycopg.errors.OperationalError,
    psycopg.errors.InterfaceError,
    psycopg.errors.QueryCanceled,
    psycopg.errors.InsufficientResources,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby, or the moment of a failover
)

RV = TypeVar("RV")

_ends_at_s: ContextVar[float | None] = ContextVar("ends_at_s", default=None)
"""When what the running transaction may take is used up, by the steady clock."""


_is_at_work: ContextVar[Callable[[int], bool] | None] = ContextVar("is_at_work", default=None)
"""Tells whether Postgres works on what a server process was asked, where statements may be long."""


class _Silent(psycopg.errors.OperationalError):
    """Postgres gave no answer in the time there was. It may have done what it was asked."""


class _Bounded(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than there is time, neither to connect."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        # psycopg takes whole seconds from two on, as libpq does.
        steps = super()._connect_gen(conninfo)
        ready = None
        try:
            while True:
                ready = yield next(steps) if ready is None else steps.send(ready)
                if _time_left_s() <= 0:
                    steps.close()
                    raise _Silent("no connection to Postgres in time")
        except StopIteration as done:
            connection: Self = done.value
            return connection

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer, and give the connection up where none comes in time."""
        given_s = ANSWER_WITHIN_S if timeout is None else timeout
        try:
            within_s = min(given_s, max(0.0, _time_left_s()))
            return super().wait(self._watched(gen), interval, within_s)
        except psycopg.errors.OperationalError as error:
            if not isinstance(error, psycopg.errors._WaitTimeout | _Silent):  # noqa: SLF001 - it has no other name
                raise
        self.close()
        raise _Silent("Postgres gave no answer in time")

    def _watched(self, gen: PQGen[RV]) -> PQGen[RV]:
        is_at_work = _is_at_work.get()
        # Behind a pooler (then nothing is prepared) nobody can tell which server process it is.
        if is_at_work is None or self.prepare_threshold is None:
            return gen
        return _watch(gen, lambda: is_at_work(self.pgconn.backend_pid))


def _watch(gen: PQGen[RV], is_at_work: Callable[[], bool]) -> PQGen[RV]:
    """Wait as long as Postgres works on the answer, and not where the answer cannot come any more.

    So a long statement has its time, while a connection that a firewall forgot, or whose server is
    gone, is given up within seconds.
    """
    is_lost = False
    ask_at_s = monotonic_s() + SILENT_FOR_S
    try:
        ready = yield next(gen)
        while True:
            if ready:
                is_lost, ask_at_s = False, monotonic_s() + SILENT_FOR_S
            elif is_lost:  # and the answer was not under way when we asked
                gen.close()
                raise _Silent("Postgres does not work on it any more")
            elif monotonic_s() >= ask_at_s:
                is_lost = not is_at_work()
                ask_at_s = monotonic_s() + SILENT_FOR_S
            ready = yield gen.send(ready)
    except StopIteration as done:
        answer: RV = done.value
        return answer


def _time_left_s() -> float:
    ends_at_s = _ends_at_s.get()
    return ANSWER_WITHIN_S if ends_at_s is None else ends_at_s - monotonic_s()


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
    return create_engine(
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


class Database:
    """One pool of connections to Postgres.

    With ``within_s`` a transaction takes no longer, whatever Postgres does, and after a failure
    to reach it callers are refused at once for a moment.
    """

    def __init__(self, engine: Engine, *, statement_ms: int, within_s: float | None = None) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._within_s = within_s
        self._address: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._circuit = Circuit(0 if within_s is None else PAUSE_S)
        Connector(Limits(statement_ms, IDLE_IN_TRANSACTION_MS), self._connect).attach(engine)

    @classmethod
    def for_requests(cls, url: str, *, size: int = 16) -> Database:
        """Make the pool for the request path: fails within a second rather than wait."""
        return cls(
            _make_engine(
                url, size=size, wait_s=REQUEST_POOL_WAIT_S, statement_ms=REQUEST_STATEMENT_MS
            ),
            statement_ms=REQUEST_STATEMENT_MS,
            within_s=REQUEST_WITHIN_S,
        )

    @classmethod
    def for_workers(cls, url: str, *, size: int = 8, within_s: float | None = None) -> Database:
        """Make the pool for background duties and long lists."""
        return cls(
            _make_engine(
                url, size=size, wait_s=WORKER_POOL_WAIT_S, statement_ms=WORKER_STATEMENT_MS
            ),
            statement_ms=WORKER_STATEMENT_MS,
            within_s=within_s,
        )

    def patient(self) -> Database:
        """Return this pool for callers who wait a little longer: people, and programs that read."""
        other = copy(self)
        other._within_s = PATIENT_WITHIN_S  # noqa: SLF001 - its own
        return other

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open one transaction, committed at the end of the block.

        Raises:
            DatabaseUnavailable: no connection, a time-out, or Postgres out of resources.
        """
        with self._bounded(), self._engine.begin() as db:
            yield db

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Let each statement of the block be a transaction of its own: one round trip, not three.

        Behind a pooler the block is one transaction, as there is no other way to limit it.

        Raises:
            DatabaseUnavailable: as for ``transaction``.
        """
        with self._bounded(), self._autocommit.connect() as db:
            yield db
            db.commit()  # asks Postgres only where a transaction is open, so behind a pooler

    def has_answered_since(self, instant_s: float) -> bool:
        """Tell whether Postgres answered over this pool after an instant of the steady clock."""
        return self._circuit.has_answered_since(instant_s)

    def close(self) -> None:
        """Close every connection of the pool."""
        self._engine.dispose()

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        if not self._circuit.may_call():
            raise DatabaseUnavailable("Postgres was away a moment ago")
        began_at_s = monotonic_s()
        token = _ends_at_s.set(None if self._within_s is None else began_at_s + self._within_s)
        asking = _is_at_work.set(self._is_at_work if self._within_s is None else None)
        try:
            yield
        except PoolTimeoutError as error:
            is_there = self._circuit.has_answered_since(began_at_s)
            kind = DatabaseBusy if is_there else DatabaseUnavailable
            raise kind("no free connection to Postgres in time") from error
        except DBAPIError as error:
            # While others are answered it is what this one asked that takes so long.
            if isinstance(error.orig, _Silent) and not self._circuit.has_answered_since(began_at_s):
                self._circuit.failed()
            if error.connection_invalidated or isinstance(error.orig, _UNAVAILABLE):
                raise DatabaseUnavailable(
                    f"Postgres did not answer: {type(error.orig).__name__}"
                ) from error
            raise
        else:
            self._circuit.answered()
        finally:
            _is_at_work.reset(asking)
            _ends_at_s.reset(token)

    def _is_at_work(self, pid: int) -> bool:
        """Ask over a connection of its own whether a server process works on what it was asked."""
        args, options = self._address
        token = _ends_at_s.set(monotonic_s() + ASK_WITHIN_S)
        asking = _is_at_work.set(None)
        try:
            with _Bounded.connect(*args, **options) as db:
                return works_on_a_statement(db, pid)
        except _Silent:
            return False
        except psycopg.Error:
            return True  # it is there, and has no connection to spare; the statement has its time
        finally:
            _is_at_work.reset(asking)
            _ends_at_s.reset(token)

    def _connect(self, *args: Any, **options: Any) -> _Bounded:
        self._address = args, options
        try:
            return _Bounded.connect(*args, **options)
        except psycopg.Error as error:
            if not is_refusal(error):
                self._circuit.failed()
            raise


def was_away(error: DatabaseUnavailable) -> bool:
    """Tell whether Postgres was away, and not only too busy with what it was asked."""
    too_busy = (psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected, PoolTimeoutError)
    return not any(isinstance(cause, too_busy) for cause in _causes(error))


def may_work_at_once(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is tried again at once.

    So it is for a deadlock's victim, and for a connection that Postgres closed while it lay unused
    in the pool (it restarted): the pool has thrown all of its age away with it. One that said
    nothing in time will not answer at once either.
    """
    causes = list(_causes(error))
    return not any(isinstance(cause, _Silent) for cause in causes) and any(
        isinstance(cause, psycopg.errors.DeadlockDetected)
        or (isinstance(cause, DBAPIError) and cause.connection_invalidated)
        for cause in causes
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        original = getattr(seen, "orig", None)
        if isinstance(original, BaseException):
            yield original
        seen = seen.__cause__
