"""Which revision of the schema a database has."""

from __future__ import annotations

from sqlalchemy import Connection, text


def read_revision(db: Connection) -> str | None:
    """Return the Alembic revision, None for a database that was never migrated."""
    # Asked for by name first: reading a table that is not there would fail the transaction.
    if db.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    revision: str | None = db.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar_one_or_none()
    return revision
