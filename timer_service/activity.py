"""What went on in a business, as its overview shows it: today in numbers, and two plots.

The console calls this. The numbers come from the sessions themselves; nothing is sampled, so a gap
in somebody's watching is no gap here. They are kept for some seconds, for many may look at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from threading import Lock

from timer_service.clock import monotonic_s, utc_now
from timer_service.database import Database
from timer_service.ids import BusinessId
from timer_service.records import activity
from timer_service.records.activity import Today

HOURS = 24
STEP = timedelta(minutes=15)
DAYS = 14
KEPT_S = 15.0
PAST_KEPT_S = 3_600.0
"""How long the days before today are kept: they are half a million sessions of a busy business, and
only a backlog that comes late changes them."""
_MOST_KEPT = 500


_Key = tuple[BusinessId, str]


@dataclass(frozen=True, slots=True)
class Activity:
    """A business's day, its active chats over the last hours, its sessions day by day.

    ``active`` holds an instant and a count for each quarter of an hour, the last being now;
    ``days`` the beginning of each day and what began in it, the last being today.
    """

    today: Today
    active: list[tuple[datetime, int]]
    days: list[tuple[datetime, int]]


class ActivityReader:
    """Reads what went on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[_Key, tuple[float, Activity, float]] = OrderedDict()
        self._lock = Lock()

    def read(self, business_id: BusinessId, zone: tzinfo) -> Activity:
        """Return what went on, some seconds old at most; days are those of the zone.

        Raises:
            DatabaseUnavailable: it cannot be read now.
        """
        key, now_s = (business_id, str(zone)), monotonic_s()
        with self._lock:
            kept_s, known, past_s = self._kept.get(key, (now_s, None, now_s))
        if known is not None and now_s - kept_s < KEPT_S:
            return known
        if now_s - past_s >= PAST_KEPT_S:
            known = None
        found = self._read(business_id, zone, known)
        with self._lock:
            self._kept[key] = (now_s, found, now_s if known is None else past_s)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def _read(self, business_id: BusinessId, zone: tzinfo, known: Activity | None) -> Activity:
        now = utc_now()
        quarters = [now - STEP * back for back in range(HOURS * 4, -1, -1)]
        mornings = [_morning(now, zone, back) for back in range(DAYS - 1, -2, -1)]
        with self._database.transaction() as db:
            today = activity.today(db, business_id, mornings[-2])
            active = activity.active_at(db, business_id, quarters)
            if known is not None and known.days[-1][0] == mornings[-2]:
                past = [count for _, count in known.days[:-1]]
            else:
                past = activity.started_between(db, business_id, mornings[:-1])
        return Activity(
            today,
            list(zip(quarters, active, strict=True)),
            list(zip(mornings[:-1], [*past, today.started], strict=True)),
        )


def _morning(now: datetime, zone: tzinfo, back: int) -> datetime:
    """Return when the day so many days back began; that of tomorrow is -1."""
    day = now.astimezone(zone).date() - timedelta(days=back)
    return datetime.combine(day, time.min, zone).astimezone(UTC)
