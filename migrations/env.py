"""Runs the revisions under an advisory lock, with time-outs, against the given database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from timer_service.database import sqlalchemy_url
from timer_service.tables import metadata

MIGRATION_LOCK = 7_246_001
"""Two processes migrating at once: the second waits for the first and finds nothing to do."""


def run_migrations() -> None:
    url = context.config.attributes["database_url"]
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    with engine.connect() as db:
        db.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        db.execute(text("SET lock_timeout = '5s'"))
        db.execute(text("SET statement_timeout = '10min'"))
        db.commit()
        context.configure(connection=db, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
        db.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        db.commit()
    engine.dispose()


run_migrations()
