"""Everything a backend asks of the service, in plain Python: the JSON API is a skin over this.

A program that wants the service in-process gets one of these from ``timer_service.connect()``.
Every method is safe to call from any thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from timer_service.active_chats import ActiveChatsReader
from timer_service.callbacks import load_callback
from timer_service.closing import Completion
from timer_service.database import Database
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.follow_up import FollowUp, Outcome
from timer_service.ids import BusinessId, ConnectionId, SessionId
from timer_service.intake import Intake
from timer_service.intake_batch import Recorded
from timer_service.job_queue import SummaryJob
from timer_service.messages import Author, ContactIds, Direction, InboundMessage, Media, OwnMessage
from timer_service.phone_numbers import read_customer
from timer_service.records import (
    businesses,
    callbacks,
    connections,
    contacts,
    messages,
    punctuality,
    search,
    session_views,
    sessions,
)
from timer_service.records.punctuality import Punctuality
from timer_service.records.session_views import Filter
from timer_service.resources import ActiveChats, Contact, Message, Session
from timer_service.text_cleaning import clean_json, clean_text

_WHATSAPP_BEGAN_AT = datetime(2009, 1, 1, tzinfo=UTC)
_FAR_FUTURE_AT = datetime(9999, 1, 1, tzinfo=UTC)  # the last year cannot be read back in every zone


class NewMedia(BaseModel):
    """A reference to media a message carries."""

    model_config = ConfigDict(extra="forbid")

    mime_type: str | None = Field(default=None, max_length=200)
    file_name: str | None = Field(default=None, max_length=500)
    size_bytes: int | None = Field(default=None, ge=0, lt=2**63)
    provider_media_id: str | None = Field(default=None, max_length=500)
    url: str | None = Field(default=None, max_length=2000)
    sha256: str | None = Field(default=None, max_length=100)


class NewMessage(BaseModel):
    """A message that a business's own code received or sent.

    ``customer_wa_id`` is a number (a local one is read by the business's country), ``…@lid``,
    ``lid:…`` or ``bsuid:…``. ``sent_at`` carries a zone; without it the arrival counts.
    """

    model_config = ConfigDict(extra="forbid")

    provider_message_id: str = Field(min_length=1, max_length=255)
    customer_wa_id: str = Field(min_length=1, max_length=200)
    direction: Direction
    author: Author | None = None
    type: str = Field(default="text", min_length=1, max_length=40)
    text: str | None = Field(default="", max_length=65_536)
    media: NewMedia | None = None
    customer_name: str | None = Field(default=None, max_length=200)
    sent_at: AwareDatetime | None = Field(default=None, ge=_WHATSAPP_BEGAN_AT, lt=_FAR_FUTURE_AT)


class TimerService:
    """The service, for one process."""

    def __init__(
        self,
        *,
        database: Database,
        intake: Intake,
        completion: Completion,
        follow_up: FollowUp,
        active_chats: ActiveChatsReader,
    ) -> None:
        self._database = database
        self._intake = intake
        self._completion = completion
        self._follow_up = follow_up
        self._active_chats = active_chats

    def record_messages(
        self, business_id: BusinessId, connection_id: UUID, new: Sequence[NewMessage]
    ) -> list[Recorded]:
        """Record messages a program exchanged itself; the same intake as the webhooks.

        Raises:
            NotFound: the connection is not this business's.
            InvalidInput: a customer's id, or an author that does not fit the direction.
            DatabaseUnavailable: nothing was stored.
        """
        country = self._country_for(business_id, connection_id)
        events = [_as_event(one, country, index) for index, one in enumerate(new)]
        return self._intake.record(ConnectionId(connection_id), events) if events else []

    def open_session(
        self,
        business_id: BusinessId,
        connection_id: UUID,
        customer_wa_id: str,
        context: Mapping[str, Any] | None = None,
    ) -> tuple[Session, bool]:
        """Open a session, or return the one that is open, and whether it was opened now.

        Raises:
            NotFound: the connection is not this business's.
            InvalidInput: not a customer's id.
        """
        country = self._country_for(business_id, connection_id)
        customer = read_customer(customer_wa_id, country)
        recorded = self._intake.open_session(
            ConnectionId(connection_id), customer, _dump(context or {})
        )
        return self.session(business_id, recorded.session_id), recorded.opened

    def active_chats(self, business_id: BusinessId, *, limit: int = 50) -> ActiveChats:
        """Count the active chats exactly and return a page of them, latest deadline first.

        Raises:
            DatabaseUnavailable: neither Redis nor Postgres can tell.
        """
        return self._active_chats.read(business_id, limit)

    def sessions(self, business_id: BusinessId, which: Filter | None = None) -> list[Session]:
        """Return sessions, the newest begun first."""
        with self._database.transaction() as db:
            rows = search.list_page(db, business_id, which or Filter())
        return [Session.of(row) for row in rows]

    def active_sessions(self, business_id: BusinessId, *, limit: int = 50) -> list[Session]:
        """Return open sessions that are not due, latest deadline first."""
        with self._database.transaction() as db:
            rows = session_views.list_active(db, business_id, limit=limit)
        return [Session.of(row) for row in rows]

    def session(self, business_id: BusinessId, session_id: UUID) -> Session:
        """Return one session.

        Raises:
            NotFound: there is none in this business.
        """
        return Session.of(self._session_row(business_id, session_id))

    def business_of_session(self, session_id: UUID) -> BusinessId | None:
        """Return whose session this is, for the admin, who stands above all businesses."""
        with self._database.transaction() as db:
            return session_views.owner_of(db, session_id)

    def active_session_of(self, business_id: BusinessId, phone_number: str) -> Session | None:
        """Return a contact's most recently active open session."""
        with self._database.transaction() as db:
            business = businesses.get(db, business_id)
            customer = read_customer(phone_number, business["country"] if business else None)
            row = session_views.active_of_number(db, business_id, customer)
        return Session.of(row) if row is not None else None

    def messages(
        self,
        business_id: BusinessId,
        session_id: UUID,
        *,
        after: tuple[Any, Any, UUID] | None = None,
        limit: int | None = None,
    ) -> list[RowMapping]:
        """Return a session's messages in order, as rows (`resources.Message.of` reads them).

        Raises:
            NotFound: there is no such session in this business.
        """
        self._session_row(business_id, session_id)
        with self._database.transaction() as db:
            return list(
                messages.of_session(
                    db, SessionId(session_id), business_id, after=after, limit=limit
                )
            )

    def transcript(self, business_id: BusinessId, session_id: UUID) -> list[Message]:
        """Return a session's whole conversation.

        Raises:
            NotFound: there is no such session in this business.
        """
        return [Message.of(row) for row in self.messages(business_id, session_id)]

    def change_session(
        self,
        business_id: BusinessId,
        session_id: UUID,
        *,
        context: Mapping[str, Any] | None = None,
        order_details: Mapping[str, Any] | None = None,
    ) -> Session:
        """Merge into what programs keep with a session.

        Raises:
            NotFound: there is no such session in this business.
        """
        given = {"context": context, "order_details": order_details}
        values = {name: _dump(value) for name, value in given.items() if value is not None}
        if values:
            with self._database.transaction() as db:
                session_views.merge_json(db, business_id, session_id, values)
        return self.session(business_id, session_id)

    def complete(self, session_id: UUID, business_id: BusinessId | None = None) -> Session:
        """Close a session now; one that is closed stays as it is.

        Raises:
            NotFound: there is no such session (in this business, where one is named).
        """
        owner = business_id or self.business_of_session(session_id)
        if owner is None:
            raise NotFound(f"there is no session {session_id}")
        self._completion.complete(owner, session_id)
        return self.session(owner, session_id)

    def summarize(self, business_id: BusinessId, session_id: UUID) -> Session:
        """Ask for a new summary of a closed session.

        Raises:
            NotFound: there is no such session in this business.
            Conflict: it is still open, or was replaced by another.
        """
        session = self.session(business_id, session_id)
        if session.is_open or session.close_reason == "replaced":
            raise Conflict("only a closed conversation can be summarised")
        outcome = Outcome()
        with self._database.transaction() as db:
            attempt = sessions.ask_summary_again(db, session_id)
        if attempt is not None:
            outcome.want(SummaryJob(SessionId(session_id), attempt))
        self._follow_up.run(outcome)
        return self.session(business_id, session_id)

    def last_message_times(self, business_id: BusinessId) -> dict[UUID, datetime]:
        """Return, by connection id, when each connection last heard or said anything."""
        with self._database.transaction() as db:
            return session_views.last_message_times(db, business_id)

    def punctuality(self) -> Punctuality | None:
        """Return how punctual the installation's latest closes were; None before the first."""
        with self._database.transaction() as db:
            return punctuality.read(db)

    def contacts(
        self, business_id: BusinessId, *, before: UUID | None = None, limit: int = 50
    ) -> list[Contact]:
        """Return contacts, newest first."""
        with self._database.transaction() as db:
            rows = contacts.list_page(db, business_id, before=before, limit=limit)
        return [Contact.of(row) for row in rows]

    def contact(self, business_id: BusinessId, contact_id: UUID) -> Contact:
        """Return one contact; the id of a merged one answers the contact it became.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            row = contacts.get(db, business_id, contact_id)
        if row is None:
            raise NotFound(f"there is no contact {contact_id}")
        return Contact.of(row)

    def on_closed(self, path: str) -> None:
        """Have ``package.module.function`` called with each session that closes from now on.

        The workers call it, with the session as JSON-ready ``dict``, at least once and usually
        within a second; one that raises is tried again. Registering twice is harmless.

        Raises:
            InvalidInput: there is no such function.
        """
        load_callback(path)
        with self._database.transaction() as db:
            callbacks.register(db, path)

    def no_longer_on_closed(self, path: str) -> bool:
        """Take a callback back; False if it was not registered."""
        with self._database.transaction() as db:
            return callbacks.unregister(db, path)

    def _session_row(self, business_id: BusinessId, session_id: UUID) -> RowMapping:
        with self._database.transaction() as db:
            row = session_views.get(db, business_id, session_id)
        if row is None:
            raise NotFound(f"there is no session {session_id}")
        return row

    def _country_for(self, business_id: BusinessId, connection_id: UUID) -> str | None:
        with self._database.transaction() as db:
            connection = connections.get(db, business_id, connection_id)
            business = businesses.get(db, business_id)
        if connection is None or business is None:
            raise NotFound(f"there is no connection {connection_id}")
        country: str | None = business["country"]
        return country


def _dump(value: Mapping[str, Any]) -> str:
    # Postgres takes neither NUL characters nor lone surrogates in jsonb, and no NaN.
    try:
        return json.dumps(clean_json(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput("expected plain JSON: no NaN, no dates, of reasonable depth") from None


def _as_event(new: NewMessage, country: str | None, index: int) -> InboundMessage | OwnMessage:
    place = f"messages.{index}"
    customer: ContactIds = read_customer(
        new.customer_wa_id, country, field=f"{place}.customer_wa_id"
    )
    common: dict[str, Any] = {
        "provider_message_id": clean_text(new.provider_message_id),
        "contact": customer,
        "type": clean_text(new.type),
        "text": clean_text(new.text or ""),
        "media": Media(**clean_json(new.media.model_dump())) if new.media else None,
        "customer_name": clean_text(new.customer_name) if new.customer_name else None,
        "sent_at": new.sent_at,
    }
    if new.direction is Direction.IN:
        if new.author not in {None, Author.CUSTOMER}:
            raise InvalidInput(
                "an incoming message's author is the customer", field=f"{place}.author"
            )
        return InboundMessage(**common)
    if new.author is Author.CUSTOMER:
        raise InvalidInput(
            "an outgoing message's author is agent, bot or system", field=f"{place}.author"
        )
    return OwnMessage(**common, author=new.author or Author.BOT)
