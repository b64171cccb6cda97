"""Replays this host's spool once Postgres answers, and announces what waits in it.

A thread of every web process runs the keeper; a lock on the folder lets one of them replay. Replays
are ordinary redeliveries in the order of receipt, each judged at its own receipt, so one that was
cut short anywhere is simply done again. What cannot be stored is set aside after three tries,
deaths counted, and never stands in the others' way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Event

import structlog

from timer_service import metrics
from timer_service.circuit import Circuit
from timer_service.clock import monotonic_s
from timer_service.connection_directory import ConnectionDirectory
from timer_service.database import PAUSE_S, Database
from timer_service.errors import DatabaseUnavailable, NotFound, TimerServiceError
from timer_service.ids import ConnectionId
from timer_service.intake import Intake
from timer_service.intake_batch import Bundle
from timer_service.messages import Event as ChatEvent
from timer_service.records import sessions
from timer_service.records.spool_file import Row
from timer_service.spool import PATIENCE_S, Spool, SpoolFull, connection_of, received_at
from timer_service.spool_announcements import CLOCKS_APART, SpoolAnnouncements
from timer_service.spooled_events import decode

log = structlog.get_logger(__name__)

TURN_S = 0.25
MOST_TRIES = 3
MOST_AT_ONCE = 64
SLOW_FOR_S = 60.0
"""How long one is tried again that Postgres does not store in time, though it answers: somebody may
hold a table, or the machine have no time to spare. After that it is held against it."""
HEARD_WITHIN_S = 0.5
"""How old an answer of Postgres may be for it to be asked past what waits: two turns."""
_LEAST_TURN_S = 0.05
_TRY_AGAIN_AFTER_S = 0.2


class DeadlyToReplay(Exception):
    """Whoever replayed it died, again and again."""


class SpoolKeeper:
    """Looks after one host's spool, and after what web must know when Postgres goes.

    ``intake`` and ``database`` are the keeper's own: they may wait longer than a webhook. A host
    without a spool has a keeper too, for what other hosts announce concerns it. While
    ``may_replay`` says no, it only announces what waits.
    """

    def __init__(
        self,
        spool: Spool | None,
        *,
        intake: Intake,
        database: Database,
        announcements: SpoolAnnouncements,
        directory: ConnectionDirectory,
        may_replay: Callable[[], bool] = lambda: True,
    ) -> None:
        self._spool = spool
        self._intake = intake
        self._database = database
        self._announcements = announcements
        self._directory = directory
        self._may_replay = may_replay
        self._may_stand = True
        """Whether an announcement may stand, be it an earlier process's."""
        self._bypass = Circuit(PAUSE_S)
        """What becomes of that which does not queue. Postgres may answer us and store nothing, as
        where somebody holds a table: then one a pause finds out."""
        self._slow: tuple[int, float] | None = None
        """Who was not stored in time, and since when."""

    def run(self, stop: Event) -> None:
        """Keep the spool until told to stop."""
        woken = Event() if self._spool is None else self._spool.appended
        while not stop.is_set():
            began_at_s = monotonic_s()
            woken.clear()
            try:
                self.keep_once(stop)
            except TimerServiceError as error:
                log.warning("spool_not_kept", cause=str(error))
            except Exception:
                # Whatever it was, the next webhooks must still be replayed.
                log.exception("spool_keeper_failed")
            stop.wait(max(0.0, _LEAST_TURN_S - (monotonic_s() - began_at_s)))
            woken.wait(TURN_S)

    def append(
        self,
        connection_id: ConnectionId,
        events: Sequence[ChatEvent],
        received_at: datetime,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Keep events of a connection, and tell the closers before they are acknowledged.

        Raises:
            SpoolFull: nothing can be kept.
        """
        assert self._spool is not None
        self._spool.append(connection_id, events, received_at, patience_s=patience_s)
        oldest_at = self._spool.oldest_at
        if oldest_at is not None:  # else it is stored already
            self._announcements.say(self._spool.id, oldest_at)
            self._may_stand = True

    def must_queue(self, connection_id: ConnectionId, events: Sequence[ChatEvent]) -> bool:
        """Tell whether events may not be tried on Postgres now, but queue in the spool.

        While Postgres answers they queue only behind what they must not overtake: did all of it
        queue because one waits, then under load the spool would never be empty again.

        Another webhook may be appended right after this was told. It was not acknowledged when
        this one came, so the two are under way at one instant, and nobody gave them an order.
        """
        assert self._spool is not None
        try:
            return self._spool.is_waiting and not (
                self._hears_postgres()
                and not self._spool.must_precede(connection_id, events)
                and self._bypass.may_call()
            )
        except SpoolFull as error:
            # Its disk is broken; Postgres may well be there.
            log.warning("spool_not_read", cause=str(error))
            return False

    def note_stored(self) -> None:
        """Note that Postgres took what did not queue."""
        self._bypass.answered()

    def note_not_stored(self) -> None:
        """Note that it did not: the next ones need not find out for themselves."""
        self._bypass.failed()

    def held_after(self) -> datetime | None:
        """Return since when messages may wait in this host's own spool, None where none do."""
        try:
            oldest_at = None if self._spool is None else self._spool.oldest_at
        except SpoolFull:
            return None  # nothing can be told of it, nor acknowledged by it
        return None if oldest_at is None else oldest_at - CLOCKS_APART

    def keep_once(self, stop: Event) -> int:
        """Announce what waits, and replay it; return how many parts were stored.

        Raises:
            SpoolFull: the folder cannot be used.
        """
        replayed = 0
        if self._spool is not None:
            self._announce(self._spool)
            if self._spool.is_waiting and self._may_replay():
                with self._spool.sole_replayer() as is_mine:
                    if is_mine and self._answers():
                        replayed = self._replay(self._spool, stop)
        with suppress(DatabaseUnavailable):  # what is known serves on
            self._announcements.held_after()
            self._directory.keep_warm()
        return replayed

    def _announce(self, spool: Spool) -> None:
        """Tell the closers what waits here."""
        may_stand, self._may_stand = self._may_stand, False
        said = self._announcements.said(spool.id) if may_stand else ""  # before the spool is read
        oldest_at = spool.oldest_at
        if oldest_at is not None:
            self._announcements.announce(spool.id, oldest_at)
            self._may_stand = True
        elif may_stand and not self._announcements.withdraw(spool.id, said):
            self._may_stand = True

    def _replay(self, spool: Spool, stop: Event) -> int:
        replayed = 0
        log.info("spool_replay_began", waiting=spool.state().waiting)
        while not stop.is_set():
            rows = spool.take(MOST_AT_ONCE)
            if not rows:
                spool.shrink()
                log.info("spool_replayed", parts=replayed)
                break
            stored, is_away = self._replay_rows(spool, rows, stop)
            replayed += stored
            self._announce(spool)
            if is_away:
                break
        return replayed

    def _replay_rows(self, spool: Spool, rows: Sequence[Row], stop: Event) -> tuple[int, bool]:
        """Store what can be; returns how many parts, and whether Postgres is away again."""
        bundles, failed = _read(rows)
        answers = self._intake.replay(list(bundles.values()))
        done: list[int] = []
        unanswered: list[int] = []
        for seq, answer in zip(bundles, answers, strict=True):
            if isinstance(answer, DatabaseUnavailable):
                unanswered.append(seq)
            elif isinstance(answer, NotFound) or not isinstance(answer, BaseException):
                done.append(seq)  # a connection that is gone wants its messages no more
            else:
                failed[seq] = answer
        is_away = bool(unanswered) and not (self._answers() and self._is_too_slow(unanswered[0]))
        if unanswered and not is_away:
            failed[unanswered.pop(0)] = DatabaseUnavailable("it takes too long")
        tries = {row.seq: row.tries + 1 for row in rows}
        parked = {
            seq: type(error).__name__ for seq, error in failed.items() if tries[seq] >= MOST_TRIES
        }
        for seq, error in failed.items():
            kind = type(error).__name__
            log.warning("spool_replay_failed", part=seq, tries=tries[seq], kind=kind)
        spool.settle(done=done, untried=unanswered, parked=parked)
        metrics.SPOOL_REPLAYED.inc(len(done))
        metrics.SPOOL_PARKED.inc(len(parked))
        if len(parked) < len(failed):
            stop.wait(_TRY_AGAIN_AFTER_S)
        return len(done), is_away

    def _is_too_slow(self, seq: int) -> bool:
        """Tell whether one was not stored in time for so long that it is what itself holds."""
        if self._slow is None or self._slow[0] != seq:
            self._slow = (seq, monotonic_s())
        return monotonic_s() - self._slow[1] >= SLOW_FOR_S

    def _hears_postgres(self) -> bool:
        since_s = monotonic_s() - HEARD_WITHIN_S
        return self._database.has_answered_since(since_s) or self._bypass.has_answered_since(
            since_s
        )

    def _answers(self) -> bool:
        try:
            with self._database.statements() as db:
                sessions.read_clock(db)
        except DatabaseUnavailable:
            return False
        return True


def _read(rows: Sequence[Row]) -> tuple[dict[int, Bundle], dict[int, BaseException]]:
    bundles: dict[int, Bundle] = {}
    failed: dict[int, BaseException] = {}
    for row in rows:
        if row.tries >= MOST_TRIES:
            failed[row.seq] = DeadlyToReplay()
            continue
        try:
            events = decode(row.events)
            bundles[row.seq] = Bundle(connection_of(row), events, received_at(row))
        except ValueError as error:
            failed[row.seq] = error
    return bundles, failed
