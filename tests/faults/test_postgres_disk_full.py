"""Postgres has no room left (E4): what cannot be stored is spooled or refused, and nothing torn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.front import Front
from tests.support.waiting import wait_until
from timer_service.database import PAUSE_S

AT_ONCE = 24


@contextmanager
def no_room(front: Front, when: str = "INSERT ON messages") -> Iterator[None]:
    """Refuse each new row as Postgres does whose disk is full: with its own code for it."""
    front.world.run(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    front.world.run(f"CREATE TRIGGER no_room BEFORE {when} FOR EACH ROW EXECUTE FUNCTION no_room()")
    try:
        yield
    finally:
        front.world.run("DROP FUNCTION no_room CASCADE")


def deliver(front: Front, name: str) -> list[tuple[int, float]]:
    posts = [front.meta(f"{name} {n}", sender=f"97250000{n % 7:04}") for n in range(AT_ONCE)]
    return [(one.status, one.seconds) for one in front.post_together(posts)]


def test_webhooks_are_kept_in_the_spool_and_stored_when_there_is_room(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        with no_room(front):
            answers = deliver(front, "first") + deliver(front, "second")
        assert {status for status, _ in answers} == {200}
        assert max(seconds for _, seconds in answers) <= 1
        front.drain()
        texts = [one for one in front.texts() if one != "warm"]
        assert len(texts) == len(set(texts)) == 2 * AT_ONCE
        assert front.services.spool is not None
        assert front.services.spool.state().parked == 0


def test_without_a_spool_they_are_503_and_taken_when_there_is_room(
    database_url: str, redis_url: str
) -> None:
    with Front(database_url, redis_url, None) as front:
        with no_room(front):
            answers = deliver(front, "first")
        assert {status for status, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) <= 1
        wait_until(
            lambda: front.post(front.meta("after")).status == 200,
            within_s=PAUSE_S + 2,
            what="it is taken again",
        )
        assert sorted(set(front.texts())) == ["after", "warm"]


def test_closes_wait_for_room(database_url: str, redis_url: str) -> None:
    with Front(database_url, redis_url, None) as front:
        world = front.world
        world.let_pass(901)
        with no_room(front, "UPDATE ON sessions"):
            world.sweeper.sweep_once()
            assert all(one.is_open for one in world.sessions())
        # not at once: closers first hear what a spool may have kept meanwhile
        wait_until(
            lambda: world.sweeper.sweep_once()["overdue"], within_s=30, what="all are closed"
        )
        assert not [one for one in world.sessions() if one.is_open]
