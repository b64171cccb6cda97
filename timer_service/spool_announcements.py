"""Which hosts hold messages in their spools, so that nothing is closed that they continue.

A spool's keeper announces the oldest receipt that waits in it, in Redis and in Postgres, for either
may be away; what is new there Redis is told before it is acknowledged. Closers and intake ask. A
host that was silent for a minute counts no longer: its disk may be gone. Nothing here decides what
is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Lock
from typing import Any

import structlog

from timer_service import keys
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, RedisUnavailable
from timer_service.lua_scripts import WITHDRAW, Call, run_calls
from timer_service.records import spools
from timer_service.redis_clients import LiveRedis, raise_faults, run_commands
from timer_service.redis_cluster import Command

log = structlog.get_logger(__name__)

SILENT_AFTER = timedelta(seconds=60)
"""A host that announced nothing for so long is not waited for."""
CLOCKS_APART = timedelta(seconds=1)
"""How far a host's clock, which dates receipts, may be ahead of Postgres's with its deadlines."""
READ_EVERY_S = 0.25
REFRESH_EVERY_S = 0.1
"""How long after one reading `keep_fresh` begins the next: well before anybody reads himself."""
SETTLE_S = 2.0
"""How long nothing is closed after Postgres was away: by then every host has announced itself."""
NOTHING = datetime(1970, 1, 1, tzinfo=UTC)


class SpoolAnnouncements:
    """What all hosts announce."""

    def __init__(
        self, database: Database, client: LiveRedis, *, steady_s: Callable[[], float] = monotonic_s
    ) -> None:
        self._database = database
        self._client = client
        self._steady_s = steady_s
        self._lock = Lock()
        self._known: dict[str, datetime] = {}
        self._read_at_s: float | None = None
        self._settled_at_s = 0.0

    def say(self, spool_id: str, oldest_at: datetime) -> bool:
        """Tell Redis alone what the oldest receipt of a spool is: a message waits for it.

        Returns whether it could be said.
        """
        name = keys.spool_key(spool_id)
        lasts_ms = SILENT_AFTER // timedelta(milliseconds=1)
        try:
            self._ask(
                ("SET", name, oldest_at.isoformat(), "PX", lasts_ms),
                ("SADD", keys.spools_key(), spool_id),
            )
        except RedisUnavailable:
            return False
        return True

    def announce(self, spool_id: str, oldest_at: datetime) -> None:
        """Say in both places what the oldest receipt of a spool is, as far as they answer."""
        self.say(spool_id, oldest_at)
        with suppress(DatabaseUnavailable), self._database.statements() as db:
            spools.announce(db, spool_id, oldest_at)

    def said(self, spool_id: str) -> str | None:
        """Return what stands in Redis of a spool, "" for nothing; None while it is away."""
        try:
            (said,) = self._ask(("GET", keys.spool_key(spool_id)))
        except RedisUnavailable:
            return None
        return str(said or "")

    def withdraw(self, spool_id: str, said: str | None) -> bool:
        """Say that a spool was found empty after this stood in Redis.

        Returns whether nothing is announced any more; else it must be withdrawn again.
        """
        self._known = {one: at for one, at in self._known.items() if one != spool_id}
        is_withdrawn = False
        with suppress(RedisUnavailable):
            names = [keys.spool_key(spool_id), keys.spools_key()]
            is_withdrawn = said is not None and bool(
                run_calls(self._client, [Call(WITHDRAW, names, [said, spool_id])])[0]
            )
        try:
            with self._database.statements() as db:
                spools.withdraw(db, spool_id)
        except DatabaseUnavailable:
            return False
        return is_withdrawn

    def read(self) -> dict[str, datetime]:
        """Return the oldest receipt of each spool that holds something, as told now.

        Raises:
            DatabaseUnavailable: nothing can be told, nor closed.
        """
        with self._database.statements() as db:
            found = spools.announced(db, within=SILENT_AFTER)
        try:
            in_redis = self._read_redis()
        except RedisUnavailable:
            in_redis = {}
        for spool_id, oldest_at in in_redis.items():
            found[spool_id] = min(oldest_at, found.get(spool_id, oldest_at))
        return found

    def held_after(self, *, but: str | None = None) -> datetime | None:
        """Return since when messages may wait somewhere, None where none do.

        ``but`` names a spool that does not count. At most a moment old; what fell due by this
        instant may be closed, nothing else.
        """
        return _held_after(self._current(), but)

    def known_held_after(self, *, but: str | None = None) -> datetime | None:
        """Return what ``held_after`` last learnt, asking nobody: for those who cannot wait."""
        return _held_after(self._known, but)

    def closable_until(self) -> datetime | None:
        """Return by when a session must have fallen due to be closed now; None: by now.

        Raises:
            DatabaseUnavailable: nothing can be closed.
        """
        held_after = self.held_after()
        return NOTHING if self._steady_s() < self._settled_at_s else held_after

    def postgres_was_away(self) -> None:
        """Close nothing for a moment: hosts that could not announce themselves will now."""
        self._settled_at_s = self._steady_s() + SETTLE_S

    def keep_fresh(self, stop: Event) -> None:
        """Read again and again until told to stop, so that closers need not wait for it."""
        while not stop.wait(REFRESH_EVERY_S):
            try:
                with suppress(DatabaseUnavailable):  # noted; whoever closes now meets it himself
                    self._read_again(self._read_at_s)
            except Exception:
                log.exception("spool_announcements_not_read")

    def _current(self) -> dict[str, datetime]:
        read_at_s = self._read_at_s
        if read_at_s is None or self._steady_s() - read_at_s >= READ_EVERY_S:
            self._read_again(read_at_s)
        return self._known

    def _read_again(self, read_at_s: float | None) -> None:
        """Read what all announce, unless somebody did since that reading."""
        with self._lock:
            if self._read_at_s != read_at_s:
                return
            try:
                self._known = self.read()
            except DatabaseUnavailable:
                self.postgres_was_away()
                raise
            self._read_at_s = self._steady_s()

    def _read_redis(self) -> dict[str, datetime]:
        (members,) = self._ask(("SMEMBERS", keys.spools_key()))
        spool_ids = sorted(str(one) for one in members)
        if not spool_ids:
            return {}
        (found,) = self._ask(("MGET", *(keys.spool_key(one) for one in spool_ids)))
        instants = ((one, _instant(text)) for one, text in zip(spool_ids, found, strict=True))
        return {one: oldest for one, oldest in instants if oldest is not None}

    def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands; all keys carry one tag."""
        replies = run_commands(self._client, [Command(keys.spools_key(), one) for one in commands])
        raise_faults(replies)
        return replies


def _instant(text: object) -> datetime | None:
    """Read an instant as `announce` wrote it; None of what is gone, or was written by others."""
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _held_after(announced: Mapping[str, datetime], but: str | None) -> datetime | None:
    oldest = [one for spool_id, one in announced.items() if spool_id != but]
    return min(oldest) - CLOCKS_APART if oldest else None
