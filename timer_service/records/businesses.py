"""Businesses: the tenants and their settings. One that is erased is not there any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select, update

from timer_service.ids import BusinessId
from timer_service.tables import businesses

_IS_THERE = businesses.c.erased_at.is_(None)


def add(db: Connection, values: dict[str, Any]) -> RowMapping:
    """Insert a business and return its row."""
    return db.execute(insert(businesses).values(values).returning(businesses)).mappings().one()


def get(db: Connection, business_id: UUID) -> RowMapping | None:
    """Return one business."""
    query = select(businesses).where(businesses.c.id == business_id, _IS_THERE)
    return db.execute(query).mappings().one_or_none()


def change(db: Connection, business_id: BusinessId, values: dict[str, Any]) -> RowMapping | None:
    """Change settings and return the row; None if the business is gone."""
    query = update(businesses).where(businesses.c.id == business_id, _IS_THERE).values(values)
    return db.execute(query.returning(businesses)).mappings().one_or_none()


def list_page(db: Connection, *, before: UUID | None, limit: int) -> Sequence[RowMapping]:
    """Return businesses, newest first, older than ``before``."""
    query = select(businesses).where(_IS_THERE).order_by(businesses.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(businesses.c.id < before)
    return db.execute(query).mappings().all()


def list_ids(db: Connection, *, limit: int) -> list[UUID]:
    """Return the ids of all businesses, or of ``limit`` of them where there are more."""
    return list(db.execute(select(businesses.c.id).limit(limit)).scalars())
