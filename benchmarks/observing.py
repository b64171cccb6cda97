"""Watches a deployment from outside: when each event came, each row was closed, each job was there.

A process of its own subscribes to Redis's expired events and takes the jobs from RQ's queue as
they come, so that neither waits behind what is measured; the rows are read when all is over.
It needs Redis 7 or later (BLMPOP).
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import hiredis
import psycopg

from benchmarks.report import Report
from benchmarks.rig import Rig
from timer_service import keys
from timer_service.clock import epoch_s
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.redis_clients import database_of

NAME = "observer"

_QUEUE = f"rq:queue:{SUMMARIES_QUEUE}"
_TAKE = ("BLMPOP", "0", "1", _QUEUE, "LEFT", "COUNT", "1000")


class Observer:
    """The process that watches; make it when all is armed."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        folder = tempfile.TemporaryDirectory(prefix="timer-bench-")
        self._folder = folder
        found = Path(folder.name) / "found.json"
        self._found = found
        argv = (sys.executable, "-m", "benchmarks.observing", rig.redis_url, rig.queue_url)
        rig.start(NAME, (*argv, str(found)), ready=found.exists)

    def stop(self) -> Observed:
        """End it and return what it saw."""
        self._rig.stop(NAME)
        found = json.loads(self._found.read_text())
        self._folder.cleanup()
        return Observed(found["events"], found["jobs"])


@dataclass(frozen=True, slots=True)
class Observed:
    """Session → when its event and its summary jobs came, in seconds since the epoch."""

    events_at_s: dict[str, list[float]]
    jobs_at_s: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """A session that was due or is closed; ``committed_at_s`` is None while it is open."""

    session_id: str
    deadline_at_s: float
    committed_at_s: float | None


def read_rows(database_url: str, due_before_s: float) -> list[Row]:
    """Read all closed sessions and those that should be; nothing else wrote to their rows."""
    with psycopg.connect(database_url) as db:
        rows = db.execute(
            """
            SELECT id::text, extract(epoch FROM deadline_at)::float8,
              CASE WHEN state = 'closed'
                THEN extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 END
            FROM sessions WHERE state = 'closed' OR deadline_at < to_timestamp(%s)""",
            (due_before_s,),
        )
        return [Row(*row) for row in rows]


def tell_lateness(report: Report, rows: list[Row], observed: Observed, *, label: str = "") -> None:
    """Add the three spreads of lateness to a report, and what may never happen as its rules."""
    tell = f"{label}: " if label else ""
    lost = [row for row in rows if row.committed_at_s is None]
    report.spread(
        f"{tell}event received",
        [
            1000 * (at_s - row.deadline_at_s)
            for row in rows
            for at_s in observed.events_at_s.get(row.session_id, [])[:1]
        ],
    )
    closed = report.spread(
        f"{tell}row closed",
        [
            1000 * (row.committed_at_s - row.deadline_at_s)
            for row in rows
            if row.committed_at_s is not None
        ],
    )
    report.spread(
        f"{tell}job in RQ",
        [
            1000 * (at_s - row.deadline_at_s)
            for row in rows
            for at_s in observed.jobs_at_s.get(row.session_id, [])[:1]
        ],
    )
    without_job = sum(row.session_id not in observed.jobs_at_s for row in rows)
    double = sum(len(observed.jobs_at_s.get(row.session_id, [])) > 1 for row in rows)
    # An event is a hint: one that comes again costs a look, and changes nothing.
    again = sum(len(observed.events_at_s.get(row.session_id, [])) > 1 for row in rows)
    report.figure(f"{tell}events that came again", again, "events")
    report.at_most(f"{tell}closed early", closed.early, 0, "sessions", rule=True)
    report.at_most(f"{tell}lost", len(lost) + without_job, 0, "sessions", rule=True)
    report.at_most(f"{tell}handed over twice", double, 0, "sessions", rule=True)


def _connect(url: str) -> tuple[socket.socket, hiredis.Reader]:
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port or 6379))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = hiredis.Reader()
    for words in (("AUTH", parts.password or ""), ("SELECT", str(database_of(url)))):
        sock.sendall(_pack(*words))
        for reply in _replies(sock, reader):
            if isinstance(reply, Exception):
                raise reply
    return sock, reader


def _pack(*words: str | bytes) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it says one word only
    return packed


def _replies(sock: socket.socket, reader: hiredis.Reader) -> Iterator[Any]:
    reader.feed(sock.recv(1 << 20))
    while (reply := reader.gets()) is not False:
        yield reply


def watch(redis_url: str, queue_url: str, found: Path) -> None:
    """Note what comes until SIGTERM, then write it down. Run in a process of its own."""
    is_over = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, on_signal)
    events, events_reader = _connect(redis_url)
    events.sendall(_pack("SUBSCRIBE", keys.expired_channel(database_of(redis_url))))
    jobs, jobs_reader = _connect(queue_url)
    jobs.sendall(_pack(*_TAKE))
    found.touch()
    seen_events: list[tuple[float, bytes]] = []
    seen_jobs: list[tuple[float, bytes]] = []
    with selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        selector.register(jobs, selectors.EVENT_READ)
        while not is_over:
            for ready, _ in selector.select(0.2):
                at_s = epoch_s()
                if ready.fileobj is events:
                    for _, _, name in _replies(events, events_reader):
                        seen_events.append((at_s, name))
                    continue
                for reply in _replies(jobs, jobs_reader):
                    if isinstance(reply, list):
                        seen_jobs += [(at_s, name) for name in reply[1]]
                        hashes = [b"rq:job:" + name for name in reply[1]]
                        jobs.sendall(_pack("UNLINK", *hashes))
                        jobs.sendall(_pack(*_TAKE))
    found.write_text(json.dumps({"events": _by_key(seen_events), "jobs": _by_job(seen_jobs)}))


def _by_key(seen: list[tuple[float, bytes]]) -> dict[str, list[float]]:
    at_s_of: dict[str, list[float]] = defaultdict(list)
    for at_s, name in seen:
        member = keys.parse_live_key(name.decode()) if isinstance(name, bytes) else None
        if member is not None:
            at_s_of[str(member.session_id)].append(at_s)
    return at_s_of


def _by_job(seen: list[tuple[float, bytes]]) -> dict[str, list[float]]:
    at_s_of: dict[str, list[float]] = defaultdict(list)
    for at_s, name in seen:
        at_s_of[name.decode().split("_")[1]].append(at_s)
    return at_s_of


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
