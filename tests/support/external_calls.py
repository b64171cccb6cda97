"""Counts what a process asks of the outside, and lets it fail at exactly one of those calls.

A call is one round trip: a Redis command or pipeline, a Postgres statement or commit, an HTTP
request, a statement to an SQLite file, a file or folder that is synced or locked. Whatever a
process does between two calls nobody outside can tell apart, so failing before and after each of
them is failing everywhere. A library whose calls are to be counted as well gets a function beside
`_watch_redis`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, NoReturn, TypeVar
from unittest.mock import patch

import httpx2
import psycopg
from psycopg.pq import TransactionStatus
from redis.client import Pipeline, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

T = TypeVar("T")


class Fault(StrEnum):
    """What happens to the process."""

    KILL = "kill"
    CUT = "cut"
    """The connection is lost: the call raises what its library raises then."""
    HANG = "hang"
    """It stops, and goes on much later, when others have done its work."""


class When(StrEnum):
    """``AFTER`` is when the other side has done what it was asked and nobody will ever know."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """One fault at one call, counted from 1."""

    fault: Fault
    when: When
    call: int

    def __str__(self) -> str:
        return f"{self.fault}:{self.when}:{self.call}"

    @classmethod
    def read(cls, text: str) -> Point:
        fault, when, call = text.split(":")
        return cls(Fault(fault), When(when), int(call))


class Fuse:
    """Counts calls, tells each one's name, and strikes at the chosen point."""

    def __init__(self, point: Point | None, tell: Callable[[str], None]) -> None:
        self._point = point
        self._tell = tell
        self._calls = 0

    def around(self, name: str, call: Callable[[], T], cut: Callable[[], NoReturn]) -> T:
        """Make a call; ``cut`` raises what a lost connection looks like to its caller."""
        self._calls += 1
        self._tell(name)
        is_here = self._point is not None and self._point.call == self._calls
        if is_here:
            self._strike(When.BEFORE, cut)
        try:
            return call()
        finally:
            if is_here:
                self._strike(When.AFTER, cut)

    def _strike(self, when: When, cut: Callable[[], NoReturn]) -> None:
        if self._point is None or self._point.when is not when:
            return
        match self._point.fault:
            case Fault.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.HANG:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Fault.CUT:
                cut()


@contextmanager
def watching(fuse: Fuse) -> Iterator[None]:
    """Let every external call of this process go through the fuse."""
    with (
        _watch_redis(fuse),
        _watch_postgres(fuse),
        _watch_http(fuse),
        _watch_sqlite(fuse),
        _watch_files(fuse),
    ):
        yield


@contextmanager
def _watch_redis(fuse: Fuse) -> Iterator[None]:
    command, pipeline = Redis.execute_command, Pipeline.execute

    def cut() -> NoReturn:
        raise RedisConnectionError("cut by the test")

    def execute_command(self: Redis, *args: Any, **options: Any) -> Any:
        return fuse.around(f"redis {args[0]}", lambda: command(self, *args, **options), cut)

    def execute(self: Pipeline, *args: Any, **options: Any) -> Any:
        if not self.command_stack:
            return pipeline(self, *args, **options)
        name = f"redis pipeline of {len(self.command_stack)}"
        return fuse.around(name, lambda: pipeline(self, *args, **options), cut)

    with (
        patch.object(Redis, "execute_command", execute_command),
        patch.object(Pipeline, "execute", execute),
    ):
        yield


@contextmanager
def _watch_postgres(fuse: Fuse) -> Iterator[None]:
    # Everything psycopg waits for comes through here; a BEGIN goes with the statement it precedes.
    wait = psycopg.Connection.wait

    def counted(
        self: psycopg.Connection, gen: Generator[Any, Any, T], *args: Any, **options: Any
    ) -> T:
        asked = gen.gi_frame.f_locals["gen"] if gen.gi_code.co_name == "_watch" else gen
        name = asked.gi_code.co_name
        is_idle = self.pgconn.transaction_status == TransactionStatus.IDLE
        if name.startswith("_set_") or (is_idle and name in {"_commit_gen", "_rollback_gen"}):
            return wait(self, gen, *args, **options)

        def cut() -> NoReturn:
            self.pgconn.finish()
            raise psycopg.OperationalError("cut by the test")

        query = asked.gi_frame.f_locals.get("query") if asked.gi_frame else None
        what = name if query is None else " ".join(str(query).split())[:60]
        return fuse.around(f"postgres {what}", lambda: wait(self, gen, *args, **options), cut)

    with patch.object(psycopg.Connection, "wait", counted):
        yield


@contextmanager
def _watch_http(fuse: Fuse) -> Iterator[None]:
    handle = httpx2.HTTPTransport.handle_request

    def cut() -> NoReturn:
        raise httpx2.ReadError("cut by the test")

    def handle_request(self: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
        return fuse.around(f"http {request.method}", lambda: handle(self, request), cut)

    with patch.object(httpx2.HTTPTransport, "handle_request", handle_request):
        yield


@contextmanager
def _watch_sqlite(fuse: Fuse) -> Iterator[None]:
    def cut() -> NoReturn:
        raise sqlite3.OperationalError("cut by the test")

    class Counted(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            return fuse.around(_statement(args[0]), partial(super().execute, *args), cut)

        def executemany(self, *args: Any) -> sqlite3.Cursor:
            return fuse.around(_statement(args[0]), partial(super().executemany, *args), cut)

        def executescript(self, *args: Any) -> sqlite3.Cursor:
            return fuse.around(_statement(args[0]), partial(super().executescript, *args), cut)

    with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Counted)):
        yield


def _statement(sql: str) -> str:
    return f"sqlite {' '.join(sql.split())[:60]}"


@contextmanager
def _watch_files(fuse: Fuse) -> Iterator[None]:
    fsync, flock = os.fsync, fcntl.flock

    def cut() -> NoReturn:
        raise OSError(errno.EIO, "cut by the test")

    def counted_fsync(file: int) -> None:
        fuse.around("file fsync", partial(fsync, file), cut)

    def counted_flock(file: int, operation: int) -> None:
        fuse.around("file flock", partial(flock, file, operation), cut)

    with patch.object(os, "fsync", counted_fsync), patch.object(fcntl, "flock", counted_flock):
        yield
