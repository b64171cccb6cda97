"""Postgres cut, full, locked, read-only, or its answer lost: no webhook is lost or stored twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.front import Answer, Front, Post
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from timer_service.errors import DatabaseUnavailable

AT_ONCE = 24


@pytest.fixture
def front(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        yield front


def messages(front: Front, name: str) -> list[Post]:
    return [
        front.meta(f"{name} {number}", sender=f"97250000{number:04}") for number in range(AT_ONCE)
    ]


def deliver(front: Front, name: str) -> list[Answer]:
    return front.post_together(messages(front, name))


def bring_again(front: Front, posts: list[Post]) -> list[Answer]:
    """Deliver webhooks as gateways do, which bring again what was answered 503."""
    answers = front.post_together(posts)
    while refused := [post for post, one in zip(posts, answers, strict=True) if one.status == 503]:
        posts, answers = refused, front.post_together(refused)
    return answers


def check(front: Front, answers: list[Answer], names: list[str]) -> None:
    """Check that all was acknowledged in time and is stored once, in the end."""
    assert {one.status for one in answers} == {200}
    assert max(one.seconds for one in answers) <= 1.0
    front.drain()
    wanted = ["warm", "warm", *(f"{name} {n}" for name in names for n in range(AT_ONCE))]
    assert sorted(front.texts()) == sorted(wanted)


def test_every_connection_terminated_is_noticed_by_nobody(front: Front) -> None:
    names = [f"round {number}" for number in range(4)]
    answers = []
    for name in names:
        front.world.read(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        answers += bring_again(front, messages(front, name))
    check(front, answers, names)


def test_a_commit_whose_answer_was_lost_is_found_again(front: Front) -> None:
    front.postgres.lose_answer(b"COMMIT")
    answers = deliver(front, "new")
    assert front.postgres.lost_answers == 1
    check(front, answers, ["new"])


def test_a_table_locked_for_long_makes_nobody_wait(front: Front) -> None:
    with closing(psycopg.connect(front.world.database_url)) as db:
        db.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        answers = [
            answer
            for name in ("first", "second")
            for answer in bring_again(front, messages(front, name))
        ]
    check(front, answers, ["first", "second"])


def test_a_postgres_that_became_read_only_is_as_good_as_away(front: Front) -> None:
    name = front.world.database_url.rpartition("/")[2]
    with psycopg.connect(front.world.database_url, autocommit=True) as db:
        try:
            db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            front.services.database._engine.dispose()
            answers = deliver(front, "first")
            assert front.services.spool is not None
            assert front.services.spool.is_waiting
        finally:
            db.execute("SET default_transaction_read_only = off")
            db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    front.services.database._engine.dispose()
    check(front, answers, ["first"])


def test_a_postgres_without_a_free_connection_refuses_nobody(
    own_postgres_server: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    url = own_postgres_server.make_database()
    with (
        few_connections(own_postgres_server, url),
        Front(url, redis_url, tmp_path / "spool", threads=32) as front,
    ):
        hogs = take_all_connections(url)
        front.services.database._engine.dispose()
        hogs += take_all_connections(url)
        answers = deliver(front, "first")
        for hog in hogs:
            hog.close()
        check(front, answers, ["first"])


@contextmanager
def few_connections(server: PostgresServer, url: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("ALTER SYSTEM SET max_connections = 12")
    server.restart()
    try:
        yield
    finally:
        server.restart()  # or none may be left to say it by
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("ALTER SYSTEM RESET max_connections")
        server.restart()


def take_all_connections(url: str) -> list[psycopg.Connection]:
    hogs = []
    while True:
        try:
            hogs.append(psycopg.connect(url))
        except psycopg.OperationalError:
            return hogs


def test_fifty_deliveries_of_one_message_at_once_and_one_after_eight_days_store_it_once(
    front: Front,
) -> None:
    post = front.meta("again and again")
    assert {one.status for one in bring_again(front, [post] * 50)} == {200}
    front.world.let_pass(8 * 24 * 3600)
    assert front.post(post).status == 200
    assert front.texts().count("again and again") == 1
    (touched,) = front.world.read("SELECT message_count FROM sessions WHERE message_count > 1")
    assert touched["message_count"] == 2  # with the first of the same customer


def test_without_a_spool_what_cannot_be_stored_is_503(database_url: str, redis_url: str) -> None:
    with Front(database_url, redis_url, None) as front:
        with closing(psycopg.connect(database_url)) as db:
            db.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            answers = deliver(front, "first")
        assert {(one.status, one.retry_after) for one in answers} == {(503, "1")}
        assert max(one.seconds for one in answers) <= 1.0
        wait_until(lambda: front.post(front.meta("again")).status == 200, what="it is taken again")
        assert "again" in front.texts()


def is_there(front: Front) -> bool:
    try:
        with front.services.database.transaction():
            return True
    except DatabaseUnavailable:
        return False


def test_a_full_spool_is_503_and_what_comes_later_queues_behind_what_waits(front: Front) -> None:
    spool = front.services.spool
    assert spool is not None
    front.postgres.reset()
    assert front.post(front.meta("fits")).status == 200
    spool._max_bytes = 1
    answer = front.post(front.meta("does not"))
    assert (answer.status, answer.retry_after) == (503, "1")
    spool._max_bytes = 10**9
    front.postgres.pass_all()
    wait_until(lambda: is_there(front), what="webhooks find Postgres again")
    assert front.post(front.meta("queues behind")).status == 200
    told = front.get("/metrics")
    assert "timer_spool_waiting 2.0" in told
    assert "timer_spool_parked_now 0.0" in told
    assert float(re.search(r"^timer_spool_oldest_age_seconds (\S+)", told, re.MULTILINE)[1]) > 0
    front.drain()
    assert [one for one in front.texts() if one != "warm"] == ["fits", "queues behind"]


def test_a_broken_spool_refuses_nobody_while_postgres_is_there(
    front: Front, tmp_path: Path
) -> None:
    spool = front.services.spool
    assert spool is not None
    spool.close()
    tmp_path.joinpath("spool").rename(tmp_path / "gone")
    tmp_path.joinpath("spool").touch()
    assert front.post(front.meta("hello")).status == 200
    front.postgres.reset()
    assert front.post(front.meta("and now")).status == 503
