"""Takes in messages to be sent: who to, by which connection, and whether they may be sent at all.

Called by the JSON API. It stores a message and its job and never calls a gateway: the answer is the
message as it is queued, and its row tells afterwards how far it got.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import RowMapping

from timer_service.database import Database
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.follow_up import FollowUp, Outcome
from timer_service.ids import BusinessId, ConnectionId, new_id
from timer_service.intake import Intake
from timer_service.job_queue import SendJob
from timer_service.messages import (
    Author,
    ContactIds,
    Delivery,
    Media,
    OwnMessage,
    ProviderName,
)
from timer_service.phone_numbers import read_customer
from timer_service.providers import SENDERS
from timer_service.providers.sending import Outgoing
from timer_service.records import businesses, connections, messages, sends, session_views
from timer_service.records.sends import NewSend
from timer_service.resources import Message, Session
from timer_service.text_cleaning import clean_json, clean_text

_SELF_HOSTED = frozenset({ProviderName.BAILEYS, ProviderName.WAHA})


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("expected an address that starts with http:// or https://")
    return value


class NewTemplate(BaseModel):
    """An approved template: ``name`` and ``language`` at Meta, ``content_sid`` at Twilio."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=512)
    language: str | None = Field(default=None, min_length=2, max_length=20)
    components: list[dict[str, Any]] | None = Field(default=None, max_length=20)
    content_sid: str | None = Field(default=None, pattern=r"^H[A-Za-z0-9]{1,63}$")
    variables: dict[str, str] | None = Field(default=None, max_length=100)


class MediaToSend(BaseModel):
    """A file the gateway fetches from its address."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["image", "video", "document", "audio"]
    url: Annotated[str, Field(max_length=2000), AfterValidator(_web_address)]
    mime_type: str | None = Field(default=None, max_length=200)
    file_name: str | None = Field(default=None, max_length=500)
    caption: str = Field(default="", max_length=1024)


class MessageToSend(BaseModel):
    """A message to be sent: by a connection ``to`` a customer, or to a session's customer.

    A local number in ``to`` is read by the business's country. A ``client_ref`` names the message
    for good: sent in twice it is one message.
    """

    model_config = ConfigDict(extra="forbid")

    connection_id: UUID | None = None
    session_id: UUID | None = None
    to: str | None = Field(default=None, min_length=1, max_length=200)
    text: str | None = Field(default=None, min_length=1, max_length=65_536)
    media: MediaToSend | None = None
    template: NewTemplate | None = None
    client_ref: str | None = Field(default=None, min_length=1, max_length=200)
    author: Literal["agent", "bot"] = "bot"

    @model_validator(mode="after")
    def _is_whole(self) -> MessageToSend:
        if (self.connection_id is None) == (self.session_id is None):
            raise ValueError("expected either connection_id or session_id")
        if (self.connection_id is None) != (self.to is None):
            raise ValueError("expected `to` with connection_id, and only with it")
        if [self.text, self.media, self.template].count(None) != 2:  # noqa: PLR2004 - of three
            raise ValueError("expected one of text, media and template")
        return self


class Decision(StrEnum):
    """What somebody makes of a message of which nobody knows whether it was sent."""

    SENT = "sent"
    FAILED = "failed"
    SEND_AGAIN = "send_again"


class Outbox:
    """The door every message goes out by."""

    def __init__(self, database: Database, intake: Intake, follow_up: FollowUp) -> None:
        self._database = database
        self._intake = intake
        self._follow_up = follow_up

    def send(self, business_id: BusinessId, new: MessageToSend) -> Message:
        """Queue a message, or return the one its ``client_ref`` names.

        Raises:
            NotFound: the connection or the session is not this business's.
            InvalidInput: this gateway cannot send it, or not now; ``field`` says what.
            Conflict: the ``client_ref`` names another message, or the connection has no address.
        """
        connection, recipient = self._address(business_id, new)
        message_id = new_id()
        message = _outgoing(message_id, recipient, new)
        client_ref = None if new.client_ref is None else clean_text(new.client_ref)
        with self._database.transaction() as db:
            known = client_ref and sends.find_by_ref(db, business_id, client_ref)
        if not known:
            self._check(business_id, connection, message)
            known = self._intake.queue_message(
                ConnectionId(connection["id"]),
                OwnMessage(
                    id=message_id,
                    provider_message_id=str(message_id),  # until the gateway has named it
                    contact=recipient,
                    type=message.type,
                    text=message.text,
                    media=message.media,
                    extra={"template": message.template} if message.template else {},
                    author=Author(new.author),
                    status=Delivery.QUEUED,
                ),
                NewSend(message_id, recipient.best, client_ref, message.template),
            )
        if known != message_id:
            self._must_be_same(business_id, known, connection["id"], message)
        return self.message(business_id, known)

    def may_write_freely(self, business_id: BusinessId, session: Session) -> bool:
        """Tell whether an answer in plain text would be taken now, as far as Postgres knows.

        Not where the service window is over: then WhatsApp takes approved templates only.
        """
        if not SENDERS[ProviderName(session.provider)].has_service_window:
            return True
        recipient = ContactIds.parse(session.customer_wa_id)
        with self._database.transaction() as db:
            return sends.is_window_open(db, business_id, session.connection_id, recipient)

    def message(self, business_id: BusinessId, message_id: UUID) -> Message:
        """Return one message.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            row = messages.get(db, business_id, message_id)
        if row is None:
            raise NotFound(f"there is no message {message_id}")
        return Message.of(row)

    def decide(self, business_id: BusinessId, message_id: UUID, decision: Decision) -> Message:
        """Settle a message whose status is ``unknown``, or send a failed one again.

        Raises:
            NotFound: there is none in this business.
            Conflict: it is known how far the message got.
        """
        self.message(business_id, message_id)
        outcome = Outcome()
        with self._database.transaction() as db:
            if decision is Decision.SEND_AGAIN:
                attempt = sends.send_again(db, business_id, message_id)
                is_done = attempt is not None
                if attempt is not None:
                    outcome.want(SendJob(message_id, attempt))
            else:
                was_sent = decision is Decision.SENT
                is_done = sends.decide(db, business_id, message_id, was_sent=was_sent)
        if not is_done:
            raise Conflict(
                "only a message whose status is unknown can be decided on, and only an unknown or "
                "failed one sent again"
            )
        self._follow_up.run(outcome)
        return self.message(business_id, message_id)

    def _address(
        self, business_id: BusinessId, new: MessageToSend
    ) -> tuple[RowMapping, ContactIds]:
        with self._database.transaction() as db:
            business = businesses.get(db, business_id)
            connection_id, to = new.connection_id, new.to
            if new.session_id is not None:
                session = session_views.get(db, business_id, new.session_id)
                if session is None:
                    raise NotFound(f"there is no session {new.session_id}")
                connection_id, to = session["connection_id"], session["customer_wa_id"]
            connection = None
            if connection_id is not None:
                connection = connections.get(db, business_id, connection_id)
        if connection is None or business is None or to is None:
            raise NotFound(f"there is no connection {connection_id}")
        recipient = read_customer(to, business["country"], field="to")
        if recipient.phone is not None and recipient.phone.startswith("0"):
            raise InvalidInput(
                "expected a number with its country, or a business with its country set", field="to"
            )
        return connection, recipient

    def _check(self, business_id: BusinessId, connection: RowMapping, message: Outgoing) -> None:
        provider = ProviderName(connection["provider"])
        sender = SENDERS[provider]
        sender.check(message)
        if provider in _SELF_HOSTED and not connection["base_url"]:
            raise Conflict(
                f"connection {connection['id']} has no base_url: expected the gateway's address"
            )
        if message.to.phone is not None and message.to.phone == connection["own_number"]:
            raise InvalidInput("expected a customer, found the connection's own number", field="to")
        if not sender.has_service_window or message.template is not None:
            return
        with self._database.transaction() as db:
            is_open = sends.is_window_open(db, business_id, connection["id"], message.to)
        if not is_open:
            raise InvalidInput(
                "the customer's last message is more than 24 hours old, so WhatsApp takes approved "
                "templates only: send `template` instead",
                field="media" if message.media else "text",
            )

    def _must_be_same(
        self, business_id: BusinessId, known: UUID, connection_id: UUID, message: Outgoing
    ) -> None:
        with self._database.transaction() as db:
            row = sends.get(db, business_id, known)
        held = row and (
            row["connection_id"], row["recipient"], row["type"], row["text"],
            row["media"] or None, row["template"] or None,
        )  # fmt: skip
        asked = (
            connection_id, message.to.best, message.type, message.text,
            message.media.as_json() if message.media else None, message.template or None,
        )  # fmt: skip
        if held != asked:
            raise Conflict("this client_ref names another message already")


def _outgoing(message_id: UUID, recipient: ContactIds, new: MessageToSend) -> Outgoing:
    if new.template is not None:
        template = clean_json(new.template.model_dump(exclude_none=True))
        return Outgoing(message_id, recipient, type="template", template=template)
    if new.media is not None:
        media = Media(
            mime_type=new.media.mime_type, file_name=new.media.file_name, url=new.media.url
        )
        cleaned = Media(**clean_json(media.as_json()))
        return Outgoing(
            message_id,
            recipient,
            text=clean_text(new.media.caption),
            type=new.media.type,
            media=cleaned,
        )
    text = clean_text(new.text or "")
    if not text.strip():
        raise InvalidInput("expected more than blanks", field="text")
    return Outgoing(message_id, recipient, text=text)
