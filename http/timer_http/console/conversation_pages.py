"""The conversations of a business: all, or those that fit what somebody looks for.

What is looked for stands in the address, so a view can be shared and works without scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import g, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from timer_http.auth import require
from timer_http.console import filters, words
from timer_http.console.access import id_of, open_business
from timer_http.console.i18n import gettext
from timer_http.console.pages import blueprint
from timer_http.console.zones import zone_of
from timer_http.context import current_services
from timer_http.paging import read_instants_and_id, write_cursor
from timer_service.errors import InvalidInput
from timer_service.ids import BusinessId
from timer_service.messages import ProviderName, Role, SessionState
from timer_service.records.session_views import Filter
from timer_service.resources import Business, Session
from timer_service.text_cleaning import clean_text

PAGE_LENGTH = 50
GLANCE_LENGTH = 20
"""How many conversations of a state are shown before anybody looked for something."""

_STATES = {"active": SessionState.OPEN, "closed": SessionState.CLOSED}
_YEARS = range(2000, 2100)
_SUMMARIES = ("waiting", "failed")
_LONGEST_TEXT = 200
_LOOKED_FOR = ("q", "state", "provider", "since", "until", "follow_up", "summary", "contact")


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Conversations, the newest begun first; ``older`` and ``newer`` lead to the pages beside."""

    state: str | None
    sessions: list[Session]
    older: str | None
    newer: str | None
    as_of: datetime | None
    """Where that is some time ago: it was read from a replica."""


@dataclass(frozen=True, slots=True)
class Chip:
    """One thing that is looked for, in words, and the address without it."""

    word: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class LookedFor:
    """What the address asks for; ``values`` are as they were typed."""

    values: dict[str, str]
    which: Filter

    @property
    def is_anything(self) -> bool:
        """Whether there is anything to be looked for."""
        return bool(self.values)


@blueprint.get("/console/businesses/<uuid:business_id>/conversations")
@require(Role.VIEWER)
def conversations(business_id: UUID) -> str:
    """Show the conversations, or serve their lists alone where htmx asks."""
    business = open_business(business_id)
    owner = id_of(business)
    looked_for = _read_looked_for(request.args, business)
    before, after = request.args.get("before"), request.args.get("after")
    if before is not None and after is not None:
        raise InvalidInput("a page is before or after another", field="before")
    if looked_for.is_anything or before is not None or after is not None:
        found = _read_list(owner, looked_for, before, after)
        shown: dict[str, Any] = {"lists": [found], "as_of": found.as_of}
    else:
        shown = read_glance(owner)
    page = "_conversations.html" if "HX-Request" in request.headers else "conversations.html"
    return render_template(
        f"console/{page}",
        **shown
        | {
            "is_first_page": before is None and after is None,
            "looked_for": looked_for.values,
            "state": looked_for.values.get("state"),
            "chips": _chips(owner, looked_for),
            "providers": list(ProviderName),
        },
    )


def read_glance(owner: BusinessId) -> dict[str, Any]:
    """Return what goes on and what ended last, for the overview and the page as it opens."""
    lists = [
        _read_list(
            owner, LookedFor({"state": state}, Filter(state=kept.value)), None, None, GLANCE_LENGTH
        )
        for state, kept in _STATES.items()
    ]
    return {
        "lists": lists,
        "as_of": min((one.as_of for one in lists if one.as_of is not None), default=None),
        "state": None,
        "is_first_page": True,
        "looked_for": {},
    }


def _read_list(
    owner: BusinessId,
    looked_for: LookedFor,
    before: str | None,
    after: str | None,
    length: int | None = None,
) -> ConversationList:
    asked, length = looked_for.which, length or PAGE_LENGTH
    found = current_services().lists.sessions(
        owner,
        Filter(
            **{name: getattr(asked, name) for name in asked.__slots__}
            | {"before": _position(before), "after": _position(after), "limit": length + 1}
        ),
    )
    rows, has_more = found.sessions, len(found.sessions) > length
    # Read backwards, the one too many is the newest.
    shown = rows[:length] if after is None else rows[-length:]
    older = has_more if after is None else True
    newer = has_more if after is not None else before is not None
    return ConversationList(
        state=looked_for.values.get("state"),
        sessions=shown,
        older=_cursor(shown[-1]) if shown and older else None,
        newer=_cursor(shown[0]) if shown and newer else None,
        as_of=found.as_of,
    )


def _position(cursor: str | None) -> tuple[datetime, UUID] | None:
    found = read_instants_and_id(cursor, instants=1)
    return (found[0][0], found[1]) if found else None


def _cursor(one: Session) -> str:
    return write_cursor((one.started_at, one.id))


def _read_looked_for(given: MultiDict[str, str], business: Business) -> LookedFor:
    values = {name: given[name].strip() for name in _LOOKED_FOR if given.get(name, "").strip()}
    for name, known in (
        ("state", set(_STATES)),
        ("provider", {one.value for one in ProviderName}),
        ("summary", set(_SUMMARIES)),
        ("follow_up", {"yes"}),
    ):
        if values.get(name, next(iter(known))) not in known:
            raise InvalidInput(f"expected one of {', '.join(sorted(known))}", field=name)
    until = _day_in(values, "until", business)
    state = values.get("state")
    which = Filter(
        state=_STATES[state].value if state else None,
        provider=values.get("provider"),
        contact_id=_contact_in(values),
        since=_day_in(values, "since", business),
        until=until + timedelta(days=1) if until else None,
        text=clean_text(values["q"])[:_LONGEST_TEXT] if "q" in values else None,
        follow_up=True if "follow_up" in values else None,
        summary=values.get("summary"),
    )
    return LookedFor(values, which)


def _day_in(values: dict[str, str], name: str, business: Business) -> datetime | None:
    """Read a day as the instant it begins, in the business's zone."""
    if name not in values:
        return None
    try:
        day = date.fromisoformat(values[name])
        if day.year not in _YEARS:
            raise InvalidInput("expected a day of this century", field=name)
        return datetime(day.year, day.month, day.day, tzinfo=zone_of(business))
    except ValueError:
        raise InvalidInput("expected a day such as 2026-01-31", field=name) from None


def _contact_in(values: dict[str, str]) -> UUID | None:
    try:
        return UUID(values["contact"]) if "contact" in values else None
    except ValueError:
        raise InvalidInput("expected a contact's id", field="contact") from None


def _chips(owner: BusinessId, looked_for: LookedFor) -> list[Chip]:
    values = looked_for.values
    written = {
        "q": (gettext("Search"), values.get("q", "")),
        "state": (
            gettext("State"),
            gettext("Active") if values.get("state") == "active" else gettext("Closed"),
        ),
        "provider": (gettext("Provider"), words.provider(values.get("provider", ""))),
        "since": (gettext("From"), _written_day(looked_for.which.since)),
        "until": (
            gettext("To"),
            _written_day(
                looked_for.which.until - timedelta(days=1) if looked_for.which.until else None
            ),
        ),
        "follow_up": (gettext("Follow-up needed"), ""),
        "summary": (
            gettext("Summary"),
            gettext("waiting") if values.get("summary") == "waiting" else gettext("failed"),
        ),
    }
    if looked_for.which.contact_id is not None:
        contact = current_services().contact_book.contact(owner, looked_for.which.contact_id)
        written["contact"] = (
            gettext("Customer"),
            contact.name or filters.phone(contact.customer_wa_id),
        )
    return [Chip(*written[name], without=_address_without(name, values)) for name in values]


def _address_without(name: str, values: dict[str, str]) -> str:
    kept: dict[str, Any] = {other: value for other, value in values.items() if other != name}
    return url_for("console.conversations", business_id=g.business.id, **kept)


def _written_day(value: datetime | None) -> str:
    return filters.day(value) if value is not None else ""
