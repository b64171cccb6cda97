"""Businesses: the tenants and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from timer_service.ids import BusinessId
from timer_service.tables import businesses


def add(db: Connection, values: dict[str, Any]) -> RowMapping:
    """Insert a business and return its row."""
    return db.execute(insert(businesses).values(values).returning(businesses)).mappings().one()


def get(db: Connection, business_id: UUID) -> RowMapping | None:
    """Return one business."""
    query = select(businesses).where(businesses.c.id == business_id)
    return db.execute(query).mappings().one_or_none()


def change(db: Connection, business_id: BusinessId, values: dict[str, Any]) -> RowMapping | None:
    """Change settings and return the row; None if the business is gone."""
    query = update(businesses).where(businesses.c.id == business_id).values(values)
    return db.execute(query.returning(businesses)).mappings().one_or_none()


def list_page(db: Connection, *, before: UUID | None, limit: int) -> Sequence[RowMapping]:
    """Return businesses, newest first, older than ``before``."""
    query = select(businesses).order_by(businesses.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(businesses.c.id < before)
    return db.execute(query).mappings().all()


def erase(db: Connection, business_id: BusinessId) -> bool:
    """Delete a business and, by cascade, every row of it; False if there was none."""
    return db.execute(delete(businesses).where(businesses.c.id == business_id)).rowcount == 1
