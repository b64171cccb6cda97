"""Rebuilds a shard of Redis from Postgres when its epoch cannot be trusted.

The sweeper calls this at start and after every reconnect; whenever the pacer meets a wrong epoch, a
thread of its own begins at once. Of any number at one time one works.
Intake goes on meanwhile: arming is idempotent, and the count comes from Postgres until the end.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from timer_service.arming import arm_of
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, TimerServiceError
from timer_service.ids import new_id
from timer_service.keys import shard_of
from timer_service.live_chats import ArmOutcome, LiveChats
from timer_service.records import duties, session_sweeps, sessions

log = structlog.get_logger(__name__)

PAGE = 1_000
LEASE = timedelta(seconds=2)
"""Taken anew with each page, some 50 ms: another process begins so much after one that died."""


class Rebuilder:
    """Puts every open session back into Redis, nearest deadline first."""

    def __init__(self, database: Database, live_chats: LiveChats, shards: int) -> None:
        self._database = database
        self._live_chats = live_chats
        self._shards = shards
        self._wanted = threading.Event()

    def want(self) -> None:
        """Rebuild at once what cannot be trusted. Does not block."""
        self._wanted.set()

    def run(self, stop: threading.Event) -> None:
        """Rebuild when it is wanted, until told to stop; the sweep has other passes to make."""
        while not stop.is_set():
            self._wanted.wait()
            self._wanted.clear()
            for shard in range(self._shards):
                if stop.is_set():
                    return
                try:
                    self.rebuild_once(shard)
                except TimerServiceError as error:
                    log.warning("rebuild_failed", shard=shard, cause=str(error))
                except Exception:
                    # Whatever it was: the pacer asks again as long as the shard is not trusted.
                    log.exception("rebuild_broke", shard=shard)

    def rebuild_once(self, shard: int) -> int:
        """Rebuild a shard unless it can be trusted or another process is at it.

        Returns how many sessions were armed. Where a builder dies, the next begins again under
        another token when its lease has ended.

        Raises:
            DatabaseUnavailable, RedisUnavailable: it is unfinished; the next sweep begins again.
        """
        if self._live_chats.is_trusted(shard):
            return 0
        builder = new_id()
        with self._database.transaction() as db:
            if not duties.take(db, _duty(shard), builder, lease=LEASE):
                return 0
        try:
            return 0 if self._live_chats.is_trusted(shard) else self._rebuild(shard, builder)
        finally:
            with suppress(DatabaseUnavailable), self._database.transaction() as db:
                duties.give_up(db, _duty(shard), builder)

    def _rebuild(self, shard: int, builder: UUID) -> int:
        token = secrets.token_hex(8)
        self._live_chats.begin_rebuild(shard, token)
        with self._database.transaction() as db:
            began_at = sessions.read_clock(db)
        log.info("rebuild_began", shard=shard)
        armed = 0
        after = None
        while True:
            with self._database.transaction() as db:
                is_mine = duties.take(db, _duty(shard), builder, lease=LEASE)
                # Both clocks at one moment: a page takes tens of ms to read and to arm, by which
                # every deadline in it would otherwise be late.
                now = sessions.read_clock(db)
                at_ms = self._live_chats.clock_ms()
                page = session_sweeps.open_by_deadline(db, after=after, limit=PAGE, now=now)
            arms = [
                arm_of(one)
                for one in page.sessions
                if shard_of(one.business_id, self._shards) == shard
            ]
            if not is_mine or (
                arms and ArmOutcome.FENCED in self._live_chats.arm(arms, token=token, at_ms=at_ms)
            ):
                log.warning("rebuild_overtaken", shard=shard, armed=armed)
                return armed
            armed += len(arms)
            after = page.after
            if after is None:
                break
        self._forget_closed_since(began_at)
        self._live_chats.save_swept(shard, {"opened": began_at, "closed": began_at})
        if self._live_chats.finish_rebuild(shard, token):
            log.info("rebuild_finished", shard=shard, armed=armed)
        else:
            log.warning("rebuild_overtaken", shard=shard, armed=armed)
        return armed

    def _forget_closed_since(self, began_at: datetime) -> None:
        """Forget what closed after its page was read and was armed all the same."""
        since: datetime | None = began_at
        while since is not None:
            with self._database.transaction() as db:
                closed, since = session_sweeps.closed_since(
                    db, since, limit=PAGE, settled_after=timedelta(0)
                )
            self._live_chats.forget(closed)


def _duty(shard: int) -> str:
    return f"rebuild shard {shard}"
