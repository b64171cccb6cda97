"""Rebuilds shards of Redis from Postgres when their epoch cannot be trusted.

The sweeper calls this at start and after every reconnect; whenever the pacer meets a wrong epoch, a
thread of its own begins at once. Of any number at one time one works at a shard, and one
reading of Postgres serves all shards it is at.
Intake goes on meanwhile: arming is idempotent, and the count comes from Postgres until the end.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection

from timer_service.arming import arm_of
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, RedisUnavailable, TimerServiceError
from timer_service.ids import BusinessId, new_id
from timer_service.keys import shard_of
from timer_service.live_chats import ArmOutcome, LiveChats
from timer_service.records import businesses as business_records
from timer_service.records import duties, session_sweeps, sessions

log = structlog.get_logger(__name__)

PAGE = 1_000
NAMED_MAX = 5_000
"""Of more businesses than that all sessions are read, and those of other shards left out."""
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
            if stop.is_set():
                return
            try:
                self.rebuild_once()
            except TimerServiceError as error:
                log.warning("rebuild_failed", cause=str(error))
            except Exception:
                # Whatever it was: the pacer asks again as long as a shard is not trusted.
                log.exception("rebuild_broke")

    def rebuild_once(self) -> int:
        """Rebuild, in one pass, the shards that cannot be trusted and that no other is at.

        Returns how many sessions were armed. Where a builder dies, the next begins again under
        another token when its lease has ended.

        Raises:
            DatabaseUnavailable, RedisUnavailable: it is unfinished; the next sweep begins again.
        """
        untrusted = self._live_chats.untrusted()
        if not untrusted:
            return 0
        builder = new_id()
        with self._database.transaction() as db:
            ours = self._take(db, untrusted, builder)
        try:
            # Another may have been done in the meantime.
            ours = self._live_chats.untrusted(ours) if ours else []
            return self._rebuild(ours, builder) if ours else 0
        finally:
            with suppress(DatabaseUnavailable), self._database.transaction() as db:
                duties.give_up_each(db, [_duty(shard) for shard in untrusted], builder)

    def _rebuild(self, shards: Sequence[int], builder: UUID) -> int:
        token = secrets.token_hex(8)
        building = self._begin(shards, token)
        with self._database.transaction() as db:
            began_at = sessions.read_clock(db)
            businesses = self._businesses_of(building, db)
        log.info("rebuild_began", shards=building)
        armed = 0
        after = None
        while building:
            with self._database.transaction() as db:
                still = self._take(db, building, builder)
                # All clocks at one moment: a page takes tens of ms to read and to arm, by which
                # every deadline in it would otherwise be late.
                now = sessions.read_clock(db)
                at_ms = self._live_chats.clocks_ms(building)
                page = session_sweeps.open_by_deadline(
                    db, after=after, limit=PAGE, now=now, businesses=businesses
                )
            # A business that came after the list was made arms its sessions by itself.
            arms = [
                arm_of(one)
                for one in page.sessions
                if shard_of(one.business_id, self._shards) in still
            ]
            outcomes = self._live_chats.arm(arms, token=token, at_ms=at_ms) if arms else []
            overtaken = {
                shard_of(arm.business_id, self._shards)
                for arm, outcome in zip(arms, outcomes, strict=True)
                if outcome is ArmOutcome.FENCED
            } | (set(building) - set(still))
            if overtaken:
                log.warning("rebuild_overtaken", shards=sorted(overtaken), armed=armed)
                building = [shard for shard in building if shard not in overtaken]
            armed += sum(outcome is not ArmOutcome.FENCED for outcome in outcomes)
            after = page.after
            if after is None:
                break
        if building:
            self._forget_closed_since(began_at, building)
        for shard in building:
            self._live_chats.save_swept(shard, {"opened": began_at, "closed": began_at})
            if not self._live_chats.finish_rebuild(shard, token):
                log.warning("rebuild_overtaken", shards=[shard], armed=armed)
        if building:
            log.info("rebuild_finished", shards=building, armed=armed)
        return armed

    def _begin(self, shards: Sequence[int], token: str) -> list[int]:
        """Begin to rebuild shards; return those where it could be begun.

        Raises:
            RedisUnavailable: it could be begun nowhere.
        """
        begun = []
        for number, shard in enumerate(shards, 1):
            try:
                self._live_chats.begin_rebuild(shard, token)
                begun.append(shard)
            except RedisUnavailable as error:
                # One server of a cluster is away, or a slot on the move: the others' turn comes.
                log.warning("rebuild_not_begun", shard=shard, cause=str(error))
                if number == len(shards) and not begun:
                    raise
        return begun

    def _businesses_of(self, shards: Sequence[int], db: Connection) -> list[UUID] | None:
        """Return whose sessions to read; None for everybody's, or for too many to be named."""
        if len(shards) == self._shards:
            return None
        everybody = business_records.list_ids(db, limit=NAMED_MAX)
        if len(everybody) == NAMED_MAX:
            return None
        wanted = set(shards)
        return [one for one in everybody if shard_of(BusinessId(one), self._shards) in wanted]

    def _forget_closed_since(self, began_at: datetime, shards: Sequence[int]) -> None:
        """Forget what closed after its page was read and was armed all the same."""
        since: datetime | None = began_at
        while since is not None:
            with self._database.transaction() as db:
                closed, since = session_sweeps.closed_since(
                    db, since, limit=PAGE, settled_after=timedelta(0)
                )
            # Of these shards only: a server that is away must not hold up those that are back.
            self._live_chats.forget(
                [one for one in closed if shard_of(one.business_id, self._shards) in shards]
            )

    @staticmethod
    def _take(db: Connection, shards: Sequence[int], builder: UUID) -> list[int]:
        """Take the rebuild of shards for the length of a lease; return those that are ours."""
        taken = duties.take_each(db, [_duty(one) for one in shards], builder, lease=LEASE)
        return [shard for shard in shards if _duty(shard) in taken]


def _duty(shard: int) -> str:
    return f"rebuild shard {shard}"
