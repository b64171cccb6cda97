"""The overview's numbers and plots: served with the page, and alone for htmx to fetch again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import render_template

from timer_http.auth import require
from timer_http.console import charts
from timer_http.console.access import id_of, open_business
from timer_http.console.pages import blueprint
from timer_http.console.zones import zone_of
from timer_http.context import current_services
from timer_service.errors import DatabaseUnavailable
from timer_service.messages import Role
from timer_service.resources import Business

_QUARTERS_AN_HOUR = 4


@blueprint.get("/console/businesses/<uuid:business_id>/activity")
@require(Role.VIEWER)
def activity(business_id: UUID) -> str:
    """Serve the numbers and the plots alone."""
    return render_template("console/_activity.html", **read_activity(open_business(business_id)))


def read_activity(business: Business) -> dict[str, Any]:
    """Read what went on, laid out as plots; ``today`` is None where it cannot be read now."""
    try:
        found = current_services().activity.read(id_of(business), zone_of(business))
    except DatabaseUnavailable:
        return {"today": None}
    active = [count for _, count in found.active]
    started = [count for _, count in found.days]
    return {
        "today": found.today,
        "active_line": charts.steps(active),
        "active_top": charts.top_of(active),
        "active_hourly": found.active[::_QUARTERS_AN_HOUR],
        "most_active": max(active),
        "days": list(zip(found.days, charts.bars(started), strict=True)),
        "days_top": charts.top_of(started),
        "started_in_all": sum(started),
    }
