"""What the overview says went on, held against counting by hand."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from tests.support.builders import World
from timer_service import activity
from timer_service.activity import ActivityReader
from timer_service.clock import utc_now
from timer_service.records.activity import active_at, started_between, today

MINUTE = timedelta(minutes=1)


def had(world: World, began_at: datetime, ended_at: datetime | None = None, **changes: Any) -> None:
    """Put down a session as it would be; without an end it is open for an hour yet."""
    row = {
        "id": uuid4(),
        "business_id": world.business_id,
        "state": "open" if ended_at is None else "closed",
        "began_at": began_at,
        "spoke_at": began_at,
        "deadline_at": ended_at or utc_now() + timedelta(hours=1),
        "closed_at": ended_at,
        "reason": None if ended_at is None else "idle",
        "summary": None if ended_at is None else "done",
        **changes,
    }
    with world.database.transaction() as db:
        db.connection.cursor().execute("SET LOCAL session_replication_role = replica")  # type: ignore[union-attr]
        db.connection.cursor().execute(  # type: ignore[union-attr]
            """INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id,
                 number, state, version, started_at, last_message_at, last_touch_at, deadline_at,
                 closed_at, close_reason, summary_status)
               VALUES (%(id)s, %(business_id)s, gen_random_uuid(), gen_random_uuid(), 'x', 1,
                 %(state)s, 1, %(began_at)s, %(spoke_at)s, %(began_at)s, %(deadline_at)s,
                 %(closed_at)s, %(reason)s, %(summary)s)""",
            row,
        )


def test_active_chats_over_time_are_those_that_had_begun_and_not_ended(world: World) -> None:
    dice = random.Random(5)
    now = utc_now()
    chats: list[tuple[datetime, datetime | None]] = []
    for _ in range(60):
        began_at = now - dice.random() * 300 * MINUTE
        ended_at = began_at + dice.random() * 120 * MINUTE
        chats.append((began_at, ended_at if ended_at < now else None))
        had(world, *chats[-1])
    had(world, now - 100 * MINUTE, now - 50 * MINUTE, business_id=uuid4())  # another's
    instants = [now - back * 10 * MINUTE for back in range(24, -1, -1)]
    with world.database.transaction() as db:
        found = active_at(db, world.business_id, instants)
    expected = [
        sum(began <= at and (ended is None or ended > at) for began, ended in chats)
        for at in instants
    ]
    assert found == expected
    assert max(expected) > 5
    assert found[-1] == sum(ended is None for _, ended in chats)


def test_an_outage_makes_no_chat_active_longer_than_it_was(world: World) -> None:
    now = utc_now()
    late = {"deadline_at": now - 40 * MINUTE}
    had(world, now - 60 * MINUTE, now - 5 * MINUTE, **late)  # closed when the listener came back
    had(world, now - 60 * MINUTE, **late)  # nobody has closed it yet
    had(world, now - 60 * MINUTE, now - 50 * MINUTE, reason="completed",
        deadline_at=now - 20 * MINUTE)  # fmt: skip
    instants = [now - back * MINUTE for back in (70, 55, 45, 30, 0)]
    with world.database.transaction() as db:
        assert active_at(db, world.business_id, instants) == [0, 3, 2, 0, 0]


def test_a_quiet_business_has_noughts(world: World) -> None:
    found = ActivityReader(world.database).read(world.business_id, ZoneInfo("UTC"))
    assert {count for _, count in found.active} == {0}
    assert [count for _, count in found.days] == [0] * activity.DAYS
    assert (found.today.started, found.today.closed) == (0, 0)
    assert (found.today.median_length_s, found.today.p50_ms) == (None, None)


def test_the_day_so_far_in_numbers(world: World) -> None:
    now = utc_now()
    since = now - timedelta(hours=3)
    for minutes, late_ms, summary in ((4, 2, "done"), (10, 6, "failed"), (6, 40, "pending")):
        began_at = now - timedelta(hours=1)
        deadline_at = began_at + 30 * MINUTE
        had(world, began_at, deadline_at + timedelta(milliseconds=late_ms), deadline_at=deadline_at,
            spoke_at=began_at + minutes * MINUTE, summary=summary)  # fmt: skip
    had(world, now - timedelta(hours=4), now - timedelta(hours=2), reason="completed",
        spoke_at=now - timedelta(hours=4) + 6 * MINUTE, summary="running")  # fmt: skip
    had(world, now - MINUTE)
    had(world, now - timedelta(hours=9), now - timedelta(hours=8), summary="failed")  # yesterday
    with world.database.transaction() as db:
        found = today(db, world.business_id, since)
    assert (found.started, found.closed) == (4, 4)
    assert found.median_length_s == pytest.approx(360)
    assert (found.summaries_waiting, found.summaries_failed) == (2, 1)
    assert found.p50_ms == pytest.approx(6)
    assert found.p99_ms == pytest.approx(40)


def test_days_are_those_of_the_business_whatever_its_clocks_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = ZoneInfo("Asia/Jerusalem")
    noon = datetime(2026, 10, 26, 12, tzinfo=zone)  # the day before, clocks went back an hour
    monkeypatch.setattr(activity, "utc_now", lambda: noon)
    for day, hour, minute in ((25, 0, 5), (25, 23, 55), (26, 0, 5), (24, 23, 59)):
        at = datetime(2026, 10, day, hour, minute, tzinfo=zone)
        had(world, at, at + MINUTE)
    found = ActivityReader(world.database).read(world.business_id, zone)
    by_day = {at.astimezone(zone).date().day: count for at, count in found.days[-3:]}
    assert by_day == {24: 1, 25: 2, 26: 1}
    lengths = {later[0] - one[0] for one, later in zip(found.days, found.days[1:], strict=False)}
    assert timedelta(hours=25) in lengths


def test_each_day_holds_what_began_in_it(world: World) -> None:
    now = utc_now()
    bounds = [now - days * timedelta(days=1) for days in (3, 2, 1, 0)]
    for hours in (90, 71, 49, 48, 1):
        had(world, now - timedelta(hours=hours), now)
    with world.database.transaction() as db:
        assert started_between(db, world.business_id, bounds) == [2, 1, 1]


def test_what_was_read_is_kept_for_some_seconds_and_past_days_for_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, zone = ActivityReader(world.database), ZoneInfo("UTC")
    clock = iter([0.0, 1.0, activity.KEPT_S, activity.PAST_KEPT_S])
    monkeypatch.setattr(activity, "monotonic_s", lambda: next(clock))
    assert reader.read(world.business_id, zone).today.started == 0
    had(world, utc_now())
    assert reader.read(world.business_id, zone).today.started == 0
    had(world, utc_now() - timedelta(days=3), utc_now())
    later = reader.read(world.business_id, zone)
    assert later.today.started == 1
    assert sum(count for _, count in later.days) == 1, "the days before today are kept for longer"
    assert sum(count for _, count in reader.read(world.business_id, zone).days) == 2
