"""What the service answers, as programs see it: the shapes of INTERFACE, from rows.

Used by the JSON API, the console and the in-process API alike. Instants are RFC 3339 UTC with
milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from sqlalchemy import RowMapping

from timer_service import service_window
from timer_service.file_types import kind_of
from timer_service.messages import CloseReason, ContactIds, SessionState
from timer_service.status_reasons import explain


def format_instant(value: datetime) -> str:
    """Write an instant as ``2026-01-01T10:01:00.000Z``."""
    text = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


Instant = Annotated[
    datetime,
    PlainSerializer(format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class Resource(BaseModel):
    """Base of everything answered."""

    model_config = ConfigDict(frozen=True)


class Business(Resource):
    """A tenant and its settings."""

    id: UUID
    name: str
    idle_gap_s: int
    touch_on: str
    country: str | None
    locale: str
    timezone: str
    default_connection_id: UUID | None
    summarizer: str | None
    summary_model: str | None
    summary_language: str | None
    summary_instructions: str
    created_at: Instant

    @classmethod
    def of(cls, row: RowMapping) -> Business:
        """Read a row."""
        return cls(**{name: row[name] for name in cls.model_fields})


class ApiKey(Resource):
    """A key of a business, without the key itself."""

    id: UUID
    business_id: UUID
    role: str
    name: str
    created_at: Instant
    last_used_at: Instant | None
    revoked_at: Instant | None

    @classmethod
    def of(cls, row: RowMapping) -> ApiKey:
        """Read a row."""
        return cls(**{name: row[name] for name in cls.model_fields})


class Connection(Resource):
    """A connection, without its secrets."""

    id: UUID
    business_id: UUID
    provider: str
    external_id: str
    name: str
    base_url: str | None
    webhook_url: str
    status: str
    status_reason: str | None
    status_reason_code: str | None
    status_at: Instant | None
    own_number: str | None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: RowMapping, webhook_url: str) -> Connection:
        """Read a row; ``status_reason`` is plain words, ``status_reason_code`` for programs."""
        named = {"webhook_url", "base_url", "status_reason", "status_reason_code"}
        same = {name: row[name] for name in cls.model_fields if name not in named}
        return cls(
            **same,
            base_url=row["base_url"] or None,
            webhook_url=webhook_url,
            status_reason=explain(row["status_reason"]),
            status_reason_code=row["status_reason"],
        )


class QrCode(Resource):
    """A QR code to be scanned now, or why there is none; ask again after ``ask_again_s``.

    ``text`` is what the code says: whoever draws it links the phone that scans it.
    """

    status: str
    status_reason: str | None
    text: str | None
    expires_at: Instant | None
    ask_again_s: int


class PairingCode(Resource):
    """A code to be typed on the phone: linked devices, link with phone number."""

    code: str


class WebhookSetUp(Resource):
    """What was set at the gateway; the secret itself is never shown."""

    webhook_url: str
    events: list[str]
    retries: dict[str, str | int] | None
    proof: str
    """The secret that proves origin: ``hmac_key``, ``token`` or ``jwt_key``."""
    made_secret: bool
    """There was none, so one was made and kept."""
    changed: bool


class CheckFinding(Resource):
    """One thing that a check found."""

    code: str
    severity: str
    message: str


class ConnectionCheck(Resource):
    """Whether a connection works, and what the provider says of its account."""

    ok: bool
    findings: list[CheckFinding]
    facts: dict[str, str]


class ContactsPull(Resource):
    """How far a pull of a gateway's contacts got; ``made`` are those nobody knew."""

    connection_id: UUID
    status: str
    seen: int
    made: int
    named: int
    linked: int
    skipped: int
    failure: str | None
    failure_code: str | None
    asked_at: Instant
    finished_at: Instant | None

    @classmethod
    def of(cls, row: RowMapping) -> ContactsPull:
        """Read a row."""
        named = {"failure", "failure_code"}
        same = {name: row[name] for name in cls.model_fields if name not in named}
        return cls(**same, failure=explain(row["failure"]), failure_code=row["failure"])


class Summary(Resource):
    """What is known of a session's summary; ``status`` alone until there is one."""

    status: str
    reason: str | None = None
    text: str | None = None
    title: str | None = None
    customer: str | None = None
    asked_for: str | None = None
    provided: str | None = None
    next_steps: str | None = None
    follow_up: str | None = None
    language: str | None = None
    sentiment: str | None = None
    summarizer: str | None = None
    model: str | None = None
    message_ids: list[UUID] | None = None
    dropped_messages: int | None = None
    tokens: int | None = None
    created_at: Instant | None = None

    @classmethod
    def of(cls, row: RowMapping) -> Summary | None:
        """Read the summary columns of a session row; None while the session is open."""
        if row["summary_status"] is None:
            return None
        fields = {
            name: row[name]
            for name in (
                "title", "customer", "asked_for", "provided", "next_steps", "follow_up",
                "language", "sentiment", "summarizer", "model", "message_ids",
                "dropped_messages", "tokens",
            )
        }  # fmt: skip
        return cls(
            status=row["summary_status"],
            reason=row["summary_reason"],
            text=row["summary_text"],
            created_at=row["summarised_at"],
            **fields,
        )


class ServiceWindow(Resource):
    """Whether free text may be sent to a customer; ``reason`` says why it may or may not.

    ``customer_wrote`` (it closes 24 hours after that), ``expired`` or ``never_wrote``. Outside it
    only templates may be sent.
    """

    is_open: bool
    closes_at: Instant | None
    reason: Literal["customer_wrote", "expired", "never_wrote"]

    @classmethod
    def of(cls, provider: str, began_at: datetime | None, now: datetime) -> ServiceWindow | None:
        """Tell by a customer's last message; None where the gateway knows no window."""
        if provider not in service_window.PROVIDERS:
            return None
        if began_at is None:
            return cls(is_open=False, closes_at=None, reason="never_wrote")
        closes_at = began_at + service_window.LASTS
        is_open = closes_at > now
        return cls(
            is_open=is_open,
            closes_at=closes_at,
            reason="customer_wrote" if is_open else "expired",
        )


class ContactWindow(Resource):
    """A contact's service window at one of the business's numbers."""

    connection_id: UUID
    provider: str
    service_window: ServiceWindow


class Session(Resource):
    """One conversation, open or closed."""

    id: UUID
    business_id: UUID
    connection_id: UUID
    provider: str
    contact_id: UUID
    customer_wa_id: str
    customer_name: str | None
    number: int
    is_open: bool
    state: str
    status: str
    started_at: Instant
    last_message_at: Instant | None
    last_customer_message_at: Instant | None
    deadline_at: Instant
    closed_at: Instant | None
    close_reason: str | None
    close_lateness_ms: int | None
    message_count: int
    summary_created: bool
    summary: Summary | None
    context: dict[str, Any]
    order_details: dict[str, Any]
    service_window: ServiceWindow | None

    @classmethod
    def of(cls, row: RowMapping) -> Session:
        """Read a row of `records.session_views`."""
        is_open = row["state"] == SessionState.OPEN.value
        summary = Summary.of(row)
        lateness_ms = None
        if row["close_reason"] == CloseReason.IDLE.value:
            lateness_ms = round((row["closed_at"] - row["deadline_at"]).total_seconds() * 1000)
        same = (
            "id", "business_id", "connection_id", "provider", "contact_id", "customer_wa_id",
            "customer_name", "number", "state", "started_at", "last_message_at",
            "last_customer_message_at", "deadline_at", "closed_at", "close_reason",
            "message_count", "context", "order_details",
        )  # fmt: skip
        return cls(
            **{name: row[name] for name in same},
            is_open=is_open,
            status=_status_of(is_open, row["close_reason"]),
            close_lateness_ms=lateness_ms,
            summary_created=summary is not None and summary.text is not None,
            summary=summary,
            service_window=ServiceWindow.of(
                row["provider"], row["window_began_at"], row["read_at"]
            ),
        )


def _status_of(is_open: bool, close_reason: str | None) -> str:
    if is_open:
        return "active"
    return "completed" if close_reason == CloseReason.COMPLETED.value else "expired"


class Message(Resource):
    """One message of a session."""

    id: UUID
    session_id: UUID
    provider_message_id: str | None
    direction: str
    author: str
    type: str
    text: str
    media: dict[str, Any] | None
    reply_to: str | None
    payload: str | None
    extra: dict[str, Any] | None
    sent_at: Instant | None
    received_at: Instant
    status: str | None
    error_code: int | None
    failure: str | None
    retryable: bool | None
    edited_at: Instant | None
    revoked_at: Instant | None
    reactions: dict[str, Any] | None

    @classmethod
    def of(cls, row: RowMapping) -> Message:
        """Read a row; until the gateway has named a message, the row holds its own id as name."""
        fields = {name: row[name] for name in cls.model_fields}
        if row["provider_message_id"] == str(row["id"]):
            fields["provider_message_id"] = None
        return cls(**fields)


class Upload(Resource):
    """A file a business handed over, to be sent as ``type`` or as a document."""

    media_id: UUID
    type: str
    mime_type: str
    file_name: str | None
    size_bytes: int
    sha256: str
    expires_at: Instant

    @classmethod
    def of(cls, row: RowMapping) -> Upload:
        """Read a row."""
        same = ("mime_type", "file_name", "size_bytes", "sha256", "expires_at")
        return cls(
            **{name: row[name] for name in same},
            media_id=row["id"],
            type=kind_of(row["mime_type"]),
        )


class ContactId(Resource):
    """One id a contact is known by."""

    kind: str
    value: str


class LastSession(Resource):
    """A contact's latest conversation, in short."""

    session_id: UUID
    started_at: Instant
    closed_at: Instant | None
    provider: str
    summary_title: str | None
    summary_text: str | None
    follow_up: str | None


class Contact(Resource):
    """A customer of a business."""

    id: UUID
    business_id: UUID
    name: str | None
    customer_wa_id: str
    ids: list[ContactId]
    session_count: int
    attributes: dict[str, Any]
    open_task_count: int
    last_session: LastSession | None
    created_at: Instant
    service_windows: list[ContactWindow]

    @classmethod
    def of(cls, row: RowMapping) -> Contact:
        """Read a row of `records.contacts`, its ids in the order they were learnt.

        The best id is the newest phone, else ``lid:…``, ``bsuid:…``.
        """
        ids = [ContactId(kind=kind, value=value) for kind, value in row["ids"] or ()]
        shown = ContactIds(**{one.kind: one.value for one in ids}).best
        same = (
            "id", "business_id", "name", "session_count", "attributes", "open_task_count",
            "created_at",
        )  # fmt: skip
        windows = []
        for connection_id, provider, began_at in row["windows"] or ():
            began = None if began_at is None else datetime.fromisoformat(began_at)
            window = ServiceWindow.of(provider, began, row["read_at"])
            if window is not None:
                windows.append(
                    ContactWindow(
                        connection_id=connection_id, provider=provider, service_window=window
                    )
                )
        last = None
        if row["session_id"] is not None:
            last = LastSession(**{name: row[name] for name in LastSession.model_fields})
        return cls(
            **{name: row[name] for name in same},
            customer_wa_id=shown,
            ids=ids,
            service_windows=windows,
            last_session=last,
        )


class Note(Resource):
    """What somebody wrote down about a contact, or about one conversation."""

    id: UUID
    contact_id: UUID
    session_id: UUID | None
    text: str
    author: str
    author_id: UUID | None
    created_at: Instant
    edited_at: Instant | None

    @classmethod
    def of(cls, row: RowMapping) -> Note:
        """Read a row."""
        return cls(**{name: row[name] for name in cls.model_fields})


class Task(Resource):
    """What is still to be done for a contact; ``done_at`` once it is.

    ``is_follow_up``: made of its session's summary.
    """

    id: UUID
    contact_id: UUID
    session_id: UUID | None
    text: str
    assignee: str | None
    author: str
    author_id: UUID | None
    is_follow_up: bool
    due_at: Instant | None
    done_at: Instant | None
    created_at: Instant
    customer_name: str | None
    customer_wa_id: str

    @classmethod
    def of(cls, row: RowMapping) -> Task:
        """Read a row of `records.tasks`."""
        ids = ContactIds(**dict(row["ids"] or ()))
        same = {name: row[name] for name in cls.model_fields if name != "customer_wa_id"}
        return cls(**same, customer_wa_id=ids.best)


class ActiveChat(Resource):
    """One live conversation."""

    customer_wa_id: str
    last_message_at: Instant | None
    provider: str
    session_id: UUID
    deadline_at: Instant


class ActiveChats(Resource):
    """How many chats are active, and a page of them."""

    active_chats_count: int
    chats: list[ActiveChat]
