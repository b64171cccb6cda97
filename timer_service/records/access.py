"""API keys and the one-row record of this installation. Only digests of keys are stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, insert, select, text

from timer_service.ids import BusinessId
from timer_service.tables import api_keys


def add_key(db: Connection, values: dict[str, Any]) -> RowMapping:
    """Insert an API key and return its row."""
    return db.execute(insert(api_keys).values(values).returning(api_keys)).mappings().one()


def find_key(
    db: Connection, digest: bytes, *, noted_every: timedelta = timedelta(minutes=1)
) -> RowMapping | None:
    """Return the key with this digest unless it was revoked.

    ``is_stale`` says that it is some time since its use was noted.
    """
    is_stale = api_keys.c.last_used_at > func.clock_timestamp() - noted_every
    query = select(api_keys, is_stale.is_not(True).label("is_stale")).where(
        api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None)
    )
    return db.execute(query).mappings().one_or_none()


def note_used(db: Connection, key_id: UUID) -> None:
    """Note that a key is in use; a crash of Postgres may forget it."""
    db.execute(
        text("""
            UPDATE api_keys SET last_used_at = clock_timestamp()
            WHERE id = :id AND set_config('synchronous_commit', 'off', true) IS NOT NULL"""),
        {"id": key_id},
    )


def get_key(db: Connection, key_id: UUID) -> RowMapping | None:
    """Return a key that was not revoked, by its id."""
    query = select(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return db.execute(query).mappings().one_or_none()


def list_page(
    db: Connection, business_id: BusinessId, *, before: UUID | None, limit: int
) -> Sequence[RowMapping]:
    """Return a business's keys, newest first, older than ``before``, without their digests."""
    columns = [column for column in api_keys.c if column.name != "digest"]
    query = select(*columns).where(api_keys.c.business_id == business_id)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return db.execute(query.order_by(api_keys.c.id.desc()).limit(limit)).mappings().all()


def revoke_key(db: Connection, business_id: BusinessId, key_id: UUID) -> bool:
    """Revoke a key; False if there is none or it is revoked already."""
    result = db.execute(
        text("""
            UPDATE api_keys SET revoked_at = clock_timestamp()
            WHERE id = :id AND business_id = :business_id AND revoked_at IS NULL"""),
        {"id": key_id, "business_id": business_id},
    )
    return result.rowcount == 1


def read_install(db: Connection) -> RowMapping | None:
    """Return the installation's row, None before the first start."""
    return (
        db.execute(text("SELECT shards, admin_key_digest FROM install WHERE id = 1"))
        .mappings()
        .one_or_none()
    )


def make_install(db: Connection, *, shards: int) -> None:
    """Record the first start, unless another process did so first."""
    db.execute(
        text("INSERT INTO install (id, shards) VALUES (1, :shards) ON CONFLICT (id) DO NOTHING"),
        {"shards": shards},
    )


def set_admin_key(db: Connection, digest: bytes) -> bool:
    """Record the admin key made at the first start without one; False if one is there already."""
    result = db.execute(
        text("""
            UPDATE install SET admin_key_digest = :digest
            WHERE id = 1 AND admin_key_digest IS NULL"""),
        {"digest": digest},
    )
    return result.rowcount == 1
