"""The time zone a business's days are those of."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from timer_service.resources import Business


def zone_of(business: Business) -> ZoneInfo:
    """Return a business's zone; UTC where this machine does not know it."""
    try:
        return ZoneInfo(business.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
