"""Killed, cut off or stopped before or after any call, a process loses nothing and does nothing
twice.

`./run test` tries a sample of all points, drawn by the day; `--slow` tries every one. A failure
names its point; to try it again, or to draw another day's sample:

    KILL_POINTS="merge:cut:after:7 sweep:kill:before:1" ./run test tests/faults/test_kill_points.py
    KILL_POINTS_DAY=2026-11-21 ./run test tests/faults/test_kill_points.py
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.support.builders import DANA, NOAM, World
from tests.support.external_calls import Point
from tests.support.invariants import violations, watch_closings
from tests.support.kill_points import ALL_POINTS, KillPoints
from tests.support.kill_scenarios import SCENARIOS
from tests.support.live_sessions import Held
from tests.support.servers import PostgresServer, RedisServer
from timer_service.clock import utc_now
from timer_service.live_chats import Arm

SAMPLE = 30
WRONGS = {
    "is lost: noam": "DELETE FROM messages WHERE provider_message_id = 'noam'",
    "counts other messages": "UPDATE sessions SET message_count = 2 WHERE state = 'open'",
    "not the last touch and the gap": """
        UPDATE sessions SET deadline_at = deadline_at + interval '1 s' WHERE state = 'open'""",
    "before its deadline": "UPDATE sessions SET close_reason = 'idle' WHERE state = 'closed'",
    "closed twice, or never": """
        UPDATE sessions SET version = version + 1 WHERE state = 'closed'""",
    "summary is not done": """
        UPDATE sessions SET summary_status = 'running' WHERE state = 'closed'""",
    "summary that is done is not there": """
        UPDATE sessions SET summary_status = 'done' WHERE state = 'closed'""",
    "Redis holds version 1": "UPDATE sessions SET version = version - 1 WHERE state = 'open'",
    "is overdue and open": """
        UPDATE sessions SET last_touch_at = last_touch_at - interval '1 h',
          due_not_before = due_not_before - interval '1 h',
          deadline_at = deadline_at - interval '1 h' WHERE state = 'open'""",
    "contact that was merged away": "UPDATE contacts SET merged_into = id",
}


@pytest.fixture(scope="module")
def points(postgres_server: PostgresServer, redis_server: RedisServer) -> Iterator[KillPoints]:
    """Give the rig; what it starts is used by every point."""
    with KillPoints(postgres_server, redis_server) as points:
        yield points


def try_all(points: KillPoints, chosen: list[tuple[str, Point]]) -> list[str]:
    """Try points; return what is wrong after each, with the name to try it again by."""
    failed = []
    for name, point in chosen:
        wrong = points.try_at(name, point)
        assert wrong is not None, f"{name}:{point} was not reached"
        if wrong:
            failed.append(f"{name}:{point}: {'; '.join(wrong)}")
    return failed


def points_of(calls: list[str]) -> list[Point]:
    return [
        Point(fault, when, call) for call in range(1, len(calls) + 1) for fault, when in ALL_POINTS
    ]


def named_points() -> list[tuple[str, Point]]:
    """Read the points somebody asked for, in the place of a sample."""
    named = os.environ.get("KILL_POINTS", "").split()
    return [(name, Point.read(point)) for name, _, point in (one.partition(":") for one in named)]


def test_a_sample_of_all_points_is_survived(
    points: KillPoints, capsys: pytest.CaptureFixture[str]
) -> None:
    day = os.environ.get("KILL_POINTS_DAY", utc_now().date().isoformat())
    chosen = named_points()
    everything = [
        (name, point)
        for name in SCENARIOS
        if not chosen
        for point in points_of(points.calls_of(name))
    ]
    chosen = chosen or random.Random(day).sample(everything, SAMPLE)
    with capsys.disabled():
        print(f"\nkill points: {len(chosen)} of {len(everything)}, KILL_POINTS_DAY={day}")  # noqa: T201
    assert try_all(points, chosen) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_point_is_survived(
    points: KillPoints, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = points.calls_of(name)
    every = points_of(calls)
    failed = try_all(points, [(name, point) for point in every])
    with capsys.disabled():
        print(f"\nkill points of {name}: {len(every)} at {len(calls)} calls, {len(failed)} failed")  # noqa: T201
        print("\n".join(failed))  # noqa: T201
    assert failed == []
    assert {points.try_at(name, Point(*kind, len(calls) + 1)) for kind in ALL_POINTS} == {None}


def test_the_calls_are_those_of_each_kind(points: KillPoints) -> None:
    """A rig that counts too little proves too little."""
    calls = points.calls_of("summarize_by_model")
    assert [one for one in calls if one.startswith("http")] == ["http POST"]
    assert calls.count("postgres _commit_gen") == 2
    calls = points.calls_of("claim_and_close")
    assert [one.split()[0] for one in calls].count("redis") >= 3
    assert any("close_sessions" in one for one in calls)
    calls = points.calls_of("spool")
    assert calls.count("file fsync") == 2  # of the folder, by who reads and by who writes
    assert "file flock" in calls
    appended, taken, deleted = (
        next(nth for nth, one in enumerate(calls) if one.startswith(f"sqlite {what}"))
        for what in ("INSERT INTO spooled", "UPDATE spooled SET tries", "DELETE FROM spooled")
    )
    announced = calls.index("redis pipeline of 2")
    assert appended < announced < taken < deleted


class TestWhatTheInvariantsNotice:
    """Each of the ways to be wrong is found: a checker that cannot fail is a defect."""

    @pytest.fixture
    def kept(self, world: World) -> World:
        """Give a world with an open session and a closed one that is summarised."""
        watch_closings(world)
        world.hear(contact=NOAM, id="noam")
        closed = world.hear(contact=DANA, id="dana").session_id
        world.service.complete(closed)
        world.run("UPDATE sessions SET summary_status = 'skipped' WHERE id = :id", id=closed)
        assert violations(world, messages=["noam", "dana"]) == []
        return world

    @pytest.mark.parametrize(("wrong", "statement"), WRONGS.items())
    def test_in_postgres(self, kept: World, wrong: str, statement: str) -> None:
        kept.run(statement)
        assert wrong in " ".join(violations(kept, messages=["noam", "dana"]))

    def test_what_the_database_itself_refuses(self, kept: World) -> None:
        kept.run(
            "ALTER TABLE messages DROP CONSTRAINT uq_messages_connection_id_provider_message_id"
        )
        kept.run("DROP INDEX uq_sessions_one_open")
        kept.run("UPDATE messages SET provider_message_id = 'same'")
        kept.run(
            "UPDATE sessions SET state = 'open', closed_at = NULL, close_reason = NULL, "
            "contact_id = (SELECT contact_id FROM sessions WHERE state = 'open')"
        )
        found = " ".join(violations(kept))
        assert "stored more than once" in found
        assert "more than one open session" in found

    def test_a_claim_that_is_left(self, kept: World) -> None:
        kept.redis.zadd("ts:{0}:claimed", {"a": 1})
        assert "a claim is not settled" in violations(kept)

    def test_a_closed_session_that_is_counted(self, kept: World) -> None:
        closed = next(one.id for one in kept.sessions() if not one.is_open)
        kept.live_chats.arm([Arm(kept.business_id, closed, 9, 60_000)])
        assert {"Redis counts 2 open sessions, there are 1"} <= set(violations(kept))

    def test_an_open_session_that_is_not_counted(self, kept: World) -> None:
        opened = next(one.id for one in kept.sessions() if one.is_open)
        kept.live_chats.forget([kept.member(opened)])
        assert {"Redis counts 0 open sessions, there are 1"} <= set(violations(kept))

    @pytest.mark.parametrize("left_s", [50, 5_000])
    def test_a_live_key_that_ends_at_another_time(self, kept: World, left_s: int) -> None:
        opened = next(one.id for one in kept.sessions() if one.is_open)
        kept.redis.pexpire(Held(kept.redis, kept.member(opened)).live_key, left_s * 1_000)
        assert "after the deadline" in " ".join(violations(kept))

    def test_a_live_key_that_may_be_early(self, kept: World) -> None:
        """A touch that Redis was not told of: an early event will arm it again."""
        opened = next(one.id for one in kept.sessions() if one.is_open)
        kept.run("UPDATE sessions SET version = version + 1 WHERE state = 'open'")
        kept.redis.pexpire(Held(kept.redis, kept.member(opened)).live_key, 5_000)
        assert violations(kept, messages=["noam", "dana"]) == []
