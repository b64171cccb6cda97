"""The same schedule on what most people write: plain RQ and Redis's keyspace notifications.

A webhook inserts the message into Postgres and sets a key with the idle gap as its TTL; a listener
to expired events enqueues a job; the job closes the conversation. It is written with care: messages
are durable and deduplicated, a lock keeps two listeners from doing the same, and the job is one
transaction. What it lacks is anything that finds what an event or a job that got lost left undone.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask, Response, request
from psycopg_pool import ConnectionPool
from redis import Redis
from rq import Queue, Worker

from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.soak.deployment import Deployment, Flavour
from benchmarks.soak.driver import Driver, Line
from benchmarks.soak.fakes import numbers_in
from benchmarks.soak.faults import Faults
from benchmarks.soak.history import History, Sent
from benchmarks.soak.schedule import CALLERS, LISTENERS, WEBS, WORKERS, Schedule
from timer_service.child_process import accepts_connections
from timer_service.clock import epoch_s
from timer_service.demo.gateways import demo_gateways
from timer_service.embedded.server import HOST
from timer_service.keys import expired_channel
from timer_service.messages import ProviderName

FLAVOUR = Flavour("session:*", "naive_messages", heals_notifications=False)
QUEUES = ("close", "default")
"""Two, as in most deployments; the first is served first."""
GAP_S = "SOAK_GAP_S"
SETTLE_S = 20.0
"""What has not been closed for so long after the last close never will be."""
DRAIN_S = 600.0
_LOCK_S = 2
_HEAD = "session:"

_TABLES = """
    CREATE TABLE naive_messages (chat text, id text, number int, is_closed boolean DEFAULT false,
      PRIMARY KEY (chat, id));
    CREATE TABLE naive_closes (chat text, numbers int[], at timestamptz DEFAULT clock_timestamp())
"""


def create_app() -> Flask:
    """Make the web application."""
    app = Flask("baseline")
    pool = ConnectionPool(os.environ["TIMER_DATABASE_URL"], min_size=1, max_size=8, timeout=2)
    redis = Redis.from_url(os.environ["TIMER_REDIS_URL"])
    gap_ms = round(1000 * float(os.environ[GAP_S]))

    @app.post("/<path:where>")
    def receive(where: str) -> Response:
        for name, message_id, is_customers, text in _messages_in(request.get_json()):
            chat = f"{where}/{name}"
            with pool.connection() as db:
                db.execute(
                    "INSERT INTO naive_messages VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (chat, message_id, numbers_in(text)[0]),
                )
            if is_customers or not redis.exists(_HEAD + chat):
                redis.set(_HEAD + chat, "1", px=gap_ms)
        return Response("ok")

    return app


def _messages_in(body: Any) -> Iterator[tuple[str, str, bool, str]]:
    if "data" in body:
        key = body["data"]["key"]
        name = key["remoteJid"].partition("@")[0]
        yield name, key["id"], not key["fromMe"], body["data"]["message"]["conversation"]
        return
    for entry in body["entry"]:
        for change in entry["changes"]:
            for one in change["value"].get("messages", ()):
                yield one["from"], one["id"], True, one["text"]["body"]
            for one in change["value"].get("message_echoes", ()):
                yield one["to"], one["id"], False, one["text"]["body"]


def listen() -> None:
    """Enqueue a job for each key that expires."""
    redis = Redis.from_url(os.environ["TIMER_REDIS_URL"])
    queue = Queue(QUEUES[0], connection=redis)
    pubsub = redis.pubsub()  # type: ignore[no-untyped-call]
    pubsub.subscribe(expired_channel(0))
    for message in pubsub.listen():
        key = message["data"]
        if message["type"] != "message" or not key.startswith(_HEAD.encode()):
            continue
        chat = key.decode().removeprefix(_HEAD)
        if redis.set(f"lock:{chat}", "1", nx=True, ex=_LOCK_S):
            queue.enqueue("benchmarks.soak.baseline.close", chat)


def close(chat: str) -> None:
    """Close a conversation: everything of it that is not closed yet."""
    with psycopg.connect(os.environ["TIMER_DATABASE_URL"]) as db:
        rows = db.execute(
            "UPDATE naive_messages SET is_closed = true WHERE chat = %s AND NOT is_closed "
            "RETURNING number",
            (chat,),
        ).fetchall()
        numbers = [number for (number,) in rows]
        db.execute("INSERT INTO naive_closes (chat, numbers) VALUES (%s, %s)", (chat, numbers))


def work() -> None:
    """Be one of RQ's own workers, as it comes."""
    redis = Redis.from_url(os.environ["TIMER_REDIS_URL"])
    Worker(list(QUEUES), connection=redis).work(logging_level="WARNING", with_scheduler=True)


@dataclass(frozen=True, slots=True)
class Losses:
    """What became of the acknowledged messages."""

    messages: int
    closes: int
    lost: int
    """Acknowledged, but not stored."""
    never_closed: int
    """Stored, but in no conversation that was closed."""
    early: int
    """In a conversation that was closed before the idle gap had passed since."""
    empty: int
    """Closes of a conversation that was closed already."""


def judge(
    sent: Mapping[str, Sent], stored: set[int], closes: list[tuple[list[int], int]], gap_us: int
) -> Losses:
    """Compare what was acknowledged with what was closed: numbers, and the instant in µs."""
    taken = {one.number: one for one in sent.values() if one.acknowledged_us is not None}
    closed = Counter(number for numbers, _ in closes for number in numbers)
    early = {
        number
        for numbers, at_us in closes
        for number in numbers
        if number in taken
        and taken[number].is_customers
        and at_us < taken[number].first_invoked_us + gap_us
    }
    return Losses(
        messages=len(taken),
        closes=len(closes),
        lost=len(taken.keys() - stored),
        never_closed=len((taken.keys() & stored) - closed.keys()),
        early=len(early),
        empty=sum(not numbers for numbers, _ in closes),
    )


def run_baseline(schedule: Schedule, out: Path) -> Losses:
    """Run a schedule on the baseline."""
    plan = schedule.plan
    history = History(out / f"soak-{plan.seed}-baseline-history.jsonl")
    with ExitStack() as stack:
        stack.callback(history.close)
        rig = stack.enter_context(Rig())
        with psycopg.connect(rig.database_url, autocommit=True) as db:
            db.execute(_TABLES)
        rig.env["PGAPPNAME"] = "timer-service"  # whose connections are cut
        deployment = Deployment(rig, history, {GAP_S: str(plan.gap_s)}, FLAVOUR)
        stack.callback(deployment.end)
        deployment.start(
            _commands(deployment.ports),
            lambda: all(accepts_connections(HOST, port) for port in deployment.ports),
        )
        lines = [_lines(shop) for shop in range(plan.shops)]
        driver = Driver(schedule, lines, deployment.ports, history, give_up_after_s=60)
        faults = Faults(schedule, deployment, history)
        began_s = epoch_s()
        driver.start(began_s)
        stack.callback(driver.stop)
        stack.callback(faults.end)

        def is_over() -> bool:
            faults.tend(epoch_s() - began_s)
            return driver.is_done and faults.are_over

        deployment.pump(is_over, plan.seconds + 120, "all is sent and put right")
        settling = _Settling(rig.database_url, plan.gap_s + SETTLE_S)
        deployment.pump(settling.is_over, DRAIN_S, "the baseline settles")
        with psycopg.connect(rig.database_url) as db:
            stored = {number for (number,) in db.execute("SELECT number FROM naive_messages")}
            closes = db.execute(
                "SELECT numbers, (extract(epoch FROM at) * 1000000)::int8 FROM naive_closes"
            ).fetchall()
    return judge(history.sent, stored, closes, plan.gap_s * 1_000_000)


class _Settling:
    """Whether nothing more was closed for a while."""

    def __init__(self, database_url: str, quiet_s: float) -> None:
        self._database_url = database_url
        self._quiet_s = quiet_s
        self._closes = -1
        self._changed_s = epoch_s()

    def is_over(self) -> bool:
        with psycopg.connect(self._database_url) as db:
            row = db.execute("SELECT count(*) FROM naive_closes").fetchone()
        closes = int(row[0]) if row else 0
        if closes != self._closes:
            self._closes, self._changed_s = closes, epoch_s()
        return epoch_s() - self._changed_s > self._quiet_s


def tell_baseline(report: Report, losses: Losses) -> None:
    """Add the baseline's losses to a soak's report."""
    report.table(
        ("the same on plain RQ", "of", "times"),
        [
            ("lost", f"{losses.messages:,} messages", f"{losses.lost:,}"),
            ("never closed", f"{losses.messages:,} messages", f"{losses.never_closed:,}"),
            ("closed early", f"{losses.messages:,} messages", f"{losses.early:,}"),
            ("closed again, empty", f"{losses.closes:,} closes", f"{losses.empty:,}"),
        ],
    )


def _commands(ports: list[int]) -> dict[str, tuple[str, ...]]:
    def served(port: int) -> tuple[str, ...]:
        where = ("--host", HOST, "--port", str(port), "--workers", "2", "--respawn-failed-workers")
        how = ("--interface", "wsgi", "--factory", "--blocking-threads", "8")
        return (sys.executable, "-m", "granian", *how, *where, f"{__name__}:create_app")

    def called(word: str) -> tuple[str, ...]:
        return (sys.executable, "-m", __name__, word)

    return {
        **{name: served(port) for name, port in zip(WEBS, ports, strict=True)},
        **{name: called("listen") for name in LISTENERS},
        **{name: called("work") for name in (*WORKERS, *CALLERS)},
    }


def _lines(shop: int) -> list[Line]:
    gateways = demo_gateways(f"shop {shop}".encode())
    return [
        Line(gateways[provider], str(shop), f"{shop}-{provider}", f"/{shop}/{provider}")
        for provider in (ProviderName.META, ProviderName.BAILEYS)
    ]


if __name__ == "__main__":
    words: dict[str, Callable[[], None]] = {"listen": listen, "work": work}
    words[sys.argv[1]]()
