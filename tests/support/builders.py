"""A small world to test in: a business, one connection, its customers, on real servers.

    with World(database_url, redis_url) as world:
        first = world.hear("is the blue one in stock?")
        world.let_pass(600)
        assert world.session(first.session_id).is_open

Time is not waited for: ``let_pass`` makes everything stored that much older.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from redis import Redis
from sqlalchemy import RowMapping, text

from timer_service import connection_jobs, send_job, summarize_job, wiring
from timer_service.access import Keys
from timer_service.active_chats import ActiveChatsReader
from timer_service.administration import Administration
from timer_service.arming import Armer
from timer_service.audit import Auditor
from timer_service.clock import monotonic_s, utc_now
from timer_service.clock_guard import ClockGuard
from timer_service.closing import Closer, Completion
from timer_service.database import Database
from timer_service.eraser import Eraser
from timer_service.errors import DatabaseUnavailable
from timer_service.follow_up import FollowUp
from timer_service.ids import BusinessId, ConnectionId, SessionId
from timer_service.intake import Intake
from timer_service.intake_batch import Recorded
from timer_service.job_queue import QUEUES, JobQueue, work
from timer_service.keys import Member
from timer_service.live_chats import LiveChats
from timer_service.messages import ContactIds, Event, InboundMessage, OwnMessage, ProviderName
from timer_service.rebuild import Rebuilder
from timer_service.redis_clients import default_queue_url, live_worker_client, queue_client
from timer_service.resources import Session
from timer_service.secret_box import SecretBox
from timer_service.service import TimerService
from timer_service.spool_announcements import SpoolAnnouncements
from timer_service.sweeper import Sweeper

DANA = ContactIds(phone="972500000001")
NOAM = ContactIds(phone="972500000002")

_AGEING = {
    "sessions": (
        "created_at started_at last_message_at last_customer_message_at last_touch_at "
        "deadline_at due_not_before closed_at next_check_at"
    ),
    "messages": "sent_at received_at placed_at",
    "callback_runs": "next_check_at done_at",
    "sends": "turn_at next_check_at",
    "contact_pulls": "asked_at finished_at next_check_at",
}


class World:
    """One business with one connection, and the services that work on it."""

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        *,
        idle_gap_s: int = 900,
        shards: int = 1,
        queue_redis_url: str | None = None,
        steady_s: Callable[[], float] = monotonic_s,
        database: Database | None = None,
    ) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.shards = shards
        self.encryption_key = Fernet.generate_key().decode()
        self.database = database or Database.for_workers(database_url, size=12)
        self.redis = live_worker_client(redis_url)
        self.queue_redis_url = queue_redis_url or default_queue_url(redis_url)
        self.queue_redis = queue_client(self.queue_redis_url)
        self.live_chats = LiveChats(self.redis, shards)
        self.jobs = JobQueue(self.queue_redis)
        self.armer = Armer(self.database, self.live_chats)
        self.follow_up = FollowUp(self.armer, self.jobs)
        self.intake = Intake(self.database, self.follow_up)
        self.completion = Completion(self.database, self.follow_up)
        self.spools = SpoolAnnouncements(self.database, self.redis, steady_s=steady_s)
        self.closer = Closer(self.database, self.follow_up, ClockGuard(steady_s), self.spools)
        self.active_chats = ActiveChatsReader(self.database, self.live_chats)
        self.rebuilder = Rebuilder(self.database, self.live_chats, shards)
        self.auditor = Auditor(self.database, self.live_chats, self.armer)
        self.eraser = Eraser(self.database, self.follow_up)
        self.sweeper = self.make_sweeper()
        self.secret_box = SecretBox([self.encryption_key])
        self.keys = Keys(self.database, None)
        self.administration = Administration(
            self.database,
            keys=self.keys,
            secret_box=self.secret_box,
            completion=self.completion,
            eraser=self.eraser,
            public_url="https://timer.example/",
            idle_gap_s=idle_gap_s,
        )
        self.service = TimerService(
            database=self.database,
            intake=self.intake,
            completion=self.completion,
            follow_up=self.follow_up,
            active_chats=self.active_chats,
        )
        self._numbers = itertools.count(1)
        business, self.manager_key = self.administration.add_business({"name": "Shop"})
        self.business_id = BusinessId(business.id)
        self.connection_id = self.add_connection(f"number-of-{self.business_id}")

    def make_sweeper(self) -> Sweeper:
        """Another sweeper over the same servers, as a second listener process has one."""
        return Sweeper(
            database=self.database,
            live_chats=self.live_chats,
            armer=self.armer,
            jobs=self.jobs,
            closer=self.closer,
            rebuilder=self.rebuilder,
            auditor=self.auditor,
            period_s=5,
        )

    def add_connection(
        self, external_id: str, provider: ProviderName = ProviderName.META
    ) -> ConnectionId:
        connection = self.administration.add_connection(
            self.business_id,
            provider=provider,
            external_id=external_id,
            secrets={"app_secret": "secret"},
        )
        return ConnectionId(connection.id)

    def set_rules(self, **values: Any) -> None:
        """Change the business: ``idle_gap_s``, ``touch_on``."""
        self.administration.change_business(self.business_id, values)

    def heard(
        self,
        text: str = "is the blue one in stock?",
        *,
        contact: ContactIds = DANA,
        id: str | None = None,  # noqa: A002 - reads best in tests
        sent_ago_s: float | None = None,
        **more: Any,
    ) -> InboundMessage:
        """Make a customer's message."""
        return InboundMessage(**self._common(text, contact, id, sent_ago_s), **more)

    def said(
        self,
        text: str = "yes, two are left",
        *,
        contact: ContactIds = DANA,
        id: str | None = None,  # noqa: A002 - reads best in tests
        sent_ago_s: float | None = None,
        **more: Any,
    ) -> OwnMessage:
        """Make a message of the business."""
        return OwnMessage(**self._common(text, contact, id, sent_ago_s), **more)

    def _common(
        self, text: str, contact: ContactIds, name: str | None, sent_ago_s: float | None
    ) -> dict[str, Any]:
        return {
            "provider_message_id": name or f"m{next(self._numbers)}",
            "contact": contact,
            "text": text,
            "sent_at": None if sent_ago_s is None else utc_now() - timedelta(seconds=sent_ago_s),
        }

    def record(self, *events: Event, connection_id: ConnectionId | None = None) -> list[Recorded]:
        return self.intake.record(connection_id or self.connection_id, events)

    def record_in_turn(self, *events: Event) -> list[Recorded]:
        """Take in what many bring at once: like a gateway, again while there was no turn."""
        while True:
            try:
                return self.record(*events)
            except DatabaseUnavailable as error:
                if "no turn" not in str(error):
                    raise

    def hear(self, text: str = "is the blue one in stock?", **more: Any) -> Recorded:
        """Take in one message of a customer."""
        return self.record(self.heard(text, **more))[0]

    def say(self, text: str = "yes, two are left", **more: Any) -> Recorded:
        """Take in one message of the business."""
        return self.record(self.said(text, **more))[0]

    def session(self, session_id: UUID) -> Session:
        return self.service.session(self.business_id, session_id)

    def sessions(self) -> list[Session]:
        """Return every session, the first made first."""
        found = [self.session(row["id"]) for row in self.read("SELECT id FROM sessions")]
        return sorted(found, key=lambda one: one.id)

    def texts_of(self, session_id: UUID) -> list[str]:
        return [one.text for one in self.service.transcript(self.business_id, session_id)]

    def member(self, session_id: UUID) -> Member:
        return Member(self.business_id, SessionId(session_id))

    def version_of(self, session_id: UUID) -> int:
        return int(
            self.read("SELECT version FROM sessions WHERE id = :id", id=session_id)[0]["version"]
        )

    def read(self, statement: str, **parameters: Any) -> Sequence[RowMapping]:
        with self.database.transaction() as db:
            return db.execute(text(statement), parameters).mappings().all()

    def run(self, statement: str, **parameters: Any) -> None:
        with self.database.transaction() as db:
            db.execute(text(statement), parameters)

    def waiting_for_locks(self) -> int:
        """Return how many transactions wait for another's lock."""
        waiting = self.read(
            "SELECT 1 FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return len(waiting)

    def let_pass(self, seconds: float) -> None:
        """Let time pass for everything stored in Postgres; Redis is not told."""
        with self.database.transaction() as db:
            for table, columns in _AGEING.items():
                assignments = ", ".join(f"{one} = {one} - :age" for one in columns.split())
                db.execute(
                    text(f"UPDATE {table} SET {assignments}"), {"age": timedelta(seconds=seconds)}
                )

    def trust(self) -> None:
        """Rebuild Redis, so that its numbers count."""
        self.sweeper.rebuild_once()

    def counted_by_redis(self) -> int | None:
        return self.live_chats.count(self.business_id)

    def counted(self) -> int:
        """The number everybody sees."""
        return self.active_chats.count(self.business_id)

    def queued(self) -> list[str]:
        """Return the ids of the jobs that wait, oldest first."""
        found = [self.queue_redis.lrange(f"rq:queue:{name}", 0, -1) for name in QUEUES]
        return [one.decode() for ids in found for one in ids]

    def close(self) -> None:
        self.database.close()
        for client in (self.redis, self.queue_redis):
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def flush(redis_url: str) -> None:
    """Lose everything one Redis server holds."""
    with Redis.from_url(redis_url) as client:
        client.flushall()


@contextmanager
def working_environment(world: World, **environ: str) -> Iterator[None]:
    """Let RQ's entry points find this world, as a worker process finds its own."""
    names = {
        "TIMER_DATABASE_URL": world.database_url,
        "TIMER_REDIS_URL": world.redis_url,
        "TIMER_ENCRYPTION_KEYS": world.encryption_key,
        **environ,
    }
    jobs = (connection_jobs._control, connection_jobs._puller)
    caches = (wiring.job_services, summarize_job._worker, send_job._sender, *jobs)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            if wiring.job_services.cache_info().currsize:
                services = wiring.job_services()
                services.database.close()
                services.live_chats._client.close()
                services.jobs._client.close()
            if send_job._sender.cache_info().currsize:
                send_job._sender()._gateways.close()
                send_job._sender()._pace._client.close()
            if connection_jobs._control.cache_info().currsize:
                connection_jobs._control()._talks._gateways.close()
            for cache in caches:
                cache.cache_clear()


def work_off(world: World, queue: str) -> None:
    """Run one worker until its queue is empty."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        work(world.queue_redis, queue, burst=True)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
