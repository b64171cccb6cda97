"""The schema: made by the revisions, known to the tables, taken back, and made by one at a time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError

from tests.support.builders import World
from timer_service.database import sqlalchemy_url
from timer_service.migrate import alembic_config, known_revisions, migrate
from timer_service.tables import metadata

ROOT = Path(__file__).resolve().parents[2]


def differences(url: str) -> list[object]:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as db:
            context = MigrationContext.configure(db, opts={"compare_type": True})
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def constraints(url: str) -> set[tuple[str, str]]:
    """Return every check constraint with its rule: Alembic compares everything but these."""
    with psycopg.connect(url) as db:
        rows = db.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' "
            "AND connamespace = 'public'::regnamespace"
        )
        return {(name, rule) for name, rule in rows}


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as db:
        rows = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


def test_from_nothing_to_head_leaves_no_difference(empty_database_url: str) -> None:
    migrate(empty_database_url)
    assert differences(empty_database_url) == []
    assert tables(empty_database_url) == set(metadata.tables) | {"alembic_version"}


def test_the_checks_are_those_of_the_tables(database_url: str, empty_database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(empty_database_url))
    metadata.create_all(engine)
    engine.dispose()
    assert constraints(database_url) == constraints(empty_database_url)


def test_a_difference_is_noticed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("DROP INDEX ix_sessions_closed")
    assert len(differences(database_url)) == 1


def test_to_head_and_back_and_to_head_again(empty_database_url: str) -> None:
    migrate(empty_database_url)
    command.downgrade(alembic_config(empty_database_url), "base")
    assert tables(empty_database_url) == {"alembic_version"}
    migrate(empty_database_url)
    assert differences(empty_database_url) == []


def test_at_head_there_is_nothing_to_do(database_url: str) -> None:
    migrate(database_url)
    assert differences(database_url) == []


def test_processes_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    barrier = Barrier(3)

    def run(_: int) -> None:
        barrier.wait()
        # Alembic's context is one per process, so it takes processes to meet.
        subprocess.run(
            [sys.executable, "-c",
             f"from timer_service.migrate import migrate; migrate({empty_database_url!r})"],
            check=True, cwd=ROOT,
        )  # fmt: skip

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    assert differences(empty_database_url) == []


def test_one_open_session_per_connection_and_contact_is_the_databases_own_rule(
    world: World,
) -> None:
    world.hear()
    with pytest.raises(IntegrityError, match="uq_sessions_one_open"):
        world.run(
            "INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, "
            "number, state, version, started_at, last_touch_at, deadline_at) "
            "SELECT gen_random_uuid(), business_id, connection_id, contact_id, 'x', 2, 'open', 1, "
            "started_at, last_touch_at, deadline_at FROM sessions"
        )


def test_whatever_a_row_holds_is_found_by_an_index_when_the_row_goes(database_url: str) -> None:
    """Or deleting it would read a whole table: Postgres makes no index of a foreign key itself."""
    with psycopg.connect(database_url) as db:
        unindexed = db.execute(
            """SELECT c.conname FROM pg_constraint c
               WHERE c.contype = 'f' AND NOT EXISTS (
                 SELECT FROM pg_index i
                 WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
                   AND (i.indpred IS NULL
                     OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$'))"""
        ).fetchall()
    assert unindexed == []


def test_the_revisions_known_end_with_the_first() -> None:
    assert known_revisions()[-1] == "0001"
