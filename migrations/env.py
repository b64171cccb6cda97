"""Runs the revisions in one transaction, under its advisory lock, with its time-outs."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from timer_service.database import sqlalchemy_url
from timer_service.tables import metadata

MIGRATION_LOCK = 7_246_001
"""Two processes migrating at once: the second waits for the first and finds nothing to do."""


def run_migrations() -> None:
    url = context.config.attributes["database_url"]
    # Prepared statements and a session's locks and settings do not survive a pooler.
    engine = create_engine(
        sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"prepare_threshold": None}
    )
    with engine.begin() as db:
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        db.execute(text("SET LOCAL lock_timeout = '5s'"))
        db.execute(text("SET LOCAL statement_timeout = '10min'"))
        context.configure(connection=db, target_metadata=metadata, compare_type=True)
        context.run_migrations()
    engine.dispose()


run_migrations()
