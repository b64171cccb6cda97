"""The shapes requests must have and the pages of answers; the answers' items are `resources`.

flask-openapi reads these for the OpenAPI document too. Unknown fields are refused, so a misspelt
one is not silently ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from timer_http.fields import (
    LEFT_OUT,
    Attributes,
    BaseUrl,
    Country,
    DueInstant,
    GivenName,
    IdleGap,
    Locale,
    Name,
    NoteText,
    PageOrigin,
    Searched,
    Secrets,
    SummaryInstructions,
    SummaryLanguage,
    SummaryModel,
    TaskText,
    TimeZone,
    ZonedInstant,
)
from timer_http.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, PageQuery
from timer_http.problems import PATH_TITLE
from timer_service.messages import ProviderName, SessionState, SummarizerChoice, TouchOn
from timer_service.outgoing import Decision
from timer_service.providers import PROVIDERS
from timer_service.resources import (
    ApiKey,
    Business,
    Connection,
    Contact,
    Instant,
    Message,
    Note,
    Resource,
    Session,
    Task,
)
from timer_service.service import NewMessage

MAX_MESSAGES = 1000

_TWILIO_ACCOUNT = re.compile(r"AC[0-9A-Za-z]+:\+[0-9]{4,20}")


class Body(BaseModel):
    """Base of what is sent to us."""

    model_config = ConfigDict(extra="forbid")


class BusinessInPath(BaseModel):
    """A business named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    business_id: UUID


class ConnectionInPath(BaseModel):
    """A connection named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    connection_id: UUID


class KeyInPath(BaseModel):
    """A key named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    key_id: UUID


class SessionInPath(BaseModel):
    """A session named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    session_id: UUID


class MessageInPath(BaseModel):
    """A message named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    message_id: UUID


class ContactInPath(BaseModel):
    """A contact named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    contact_id: UUID


class NoteInPath(BaseModel):
    """A note named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    note_id: UUID


class TaskInPath(BaseModel):
    """A task named in the path."""

    model_config = ConfigDict(title=PATH_TITLE)

    task_id: UUID


class PhoneNumberInPath(BaseModel):
    """A customer named in the path: digits with or without ``+``."""

    model_config = ConfigDict(title=PATH_TITLE)

    phone_number: str


class NewBusiness(Body):
    """A business to be made; what is left out has its default."""

    name: GivenName
    idle_gap_s: IdleGap = LEFT_OUT
    touch_on: TouchOn = TouchOn.CUSTOMER
    country: Country | None = None
    locale: Locale = "en"
    timezone: TimeZone = "UTC"
    summarizer: SummarizerChoice | None = None
    summary_model: SummaryModel | None = None
    summary_language: SummaryLanguage | None = None
    summary_instructions: SummaryInstructions = ""


class BusinessChange(Body):
    """Settings to change; what is left out stays."""

    name: GivenName = LEFT_OUT
    idle_gap_s: IdleGap = LEFT_OUT
    touch_on: TouchOn = LEFT_OUT
    country: Country | None = LEFT_OUT
    locale: Locale = LEFT_OUT
    timezone: TimeZone = LEFT_OUT
    default_connection_id: UUID | None = LEFT_OUT
    summarizer: SummarizerChoice | None = LEFT_OUT
    summary_model: SummaryModel | None = LEFT_OUT
    summary_language: SummaryLanguage | None = LEFT_OUT
    summary_instructions: SummaryInstructions = LEFT_OUT


class BusinessWithKey(Business):
    """A business just made, with its first manager key, shown this once."""

    api_key: str


class NewConnection(Body):
    """An account to connect. The gateway is not called."""

    provider: ProviderName
    external_id: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)
    ]
    name: Name = ""
    base_url: BaseUrl | None = None
    secrets: Secrets

    @field_validator("external_id")
    @classmethod
    def _fits_the_provider(cls, value: str, info: ValidationInfo) -> str:
        is_twilio = info.data.get("provider") is ProviderName.TWILIO
        if is_twilio and not _TWILIO_ACCOUNT.fullmatch(value):
            raise ValueError("expected AccountSid:+number, such as AC0…0:+15550009999")
        return value

    @field_validator("secrets")
    @classmethod
    def _can_prove_origin(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        provider = info.data.get("provider")
        if provider is None:
            return value
        proving = PROVIDERS[provider].secret_names
        # None at all is a connection whose messages the business's own code records.
        if value and not proving & value.keys():
            names = " or ".join(sorted(proving))
            raise ValueError(f"expected {names}: without it no webhook can be believed")
        return value


class ConnectionChange(Body):
    """What to change; secrets are added to those that are there."""

    name: Name = LEFT_OUT
    base_url: BaseUrl | None = LEFT_OUT
    secrets: Secrets = LEFT_OUT


class PairingRequest(Body):
    """The number of the phone to be linked; a local one is read by the business's country."""

    phone_number: str = Field(min_length=1, max_length=40)


class NewApiKey(Body):
    """A key to be made."""

    role: Literal["viewer", "agent", "manager"]
    name: Name = ""


class ApiKeyWithSecret(Resource):
    """A key just made; ``api_key`` is shown this once."""

    id: UUID
    role: str
    name: str
    api_key: str


class MessagesToRecord(Body):
    """Messages a program exchanged itself."""

    connection_id: UUID
    messages: list[NewMessage] = Field(max_length=MAX_MESSAGES)


class MessageDecision(Body):
    """What became of a message of which nobody knew."""

    decision: Decision


class RecordedMessage(Resource):
    """What became of one message."""

    provider_message_id: str
    session_id: UUID
    opened: bool
    duplicate: bool


class RecordedMessages(Resource):
    """What became of each message, in the order given."""

    results: list[RecordedMessage]


class NewSession(Body):
    """A session to be opened before anybody wrote."""

    connection_id: UUID
    customer_wa_id: str = Field(min_length=1, max_length=200)
    context: dict[str, Any] | None = None


class SessionChange(Body):
    """What to merge into a session, member by member."""

    context: dict[str, Any] | None = None
    order_details: dict[str, Any] | None = None


class SessionsQuery(PageQuery):
    """Which sessions to list, and which part of them."""

    state: SessionState | None = None
    provider: ProviderName | None = None
    customer_wa_id: str | None = Field(
        default=None, max_length=200, description="a number, ``…@lid``, ``lid:…`` or ``bsuid:…``"
    )
    since: ZonedInstant | None = Field(default=None, description="begun then or later")
    until: ZonedInstant | None = Field(default=None, description="begun before")

    q: Searched | None = Field(
        default=None,
        description="words or their beginnings, in what was said, summaries and names; or how a "
        "number ends",
    )
    follow_up: bool | None = Field(default=None, description="whether something is to follow")
    summary: Literal["waiting", "failed"] | None = Field(
        default=None, description="``waiting`` to be written, or ``failed``"
    )
    contact_id: UUID | None = None


class ContactsQuery(PageQuery):
    """Which contacts to list, and which part of them."""

    q: Searched | None = Field(
        default=None, description="words of a name or their beginnings; or how a number ends"
    )


class ContactChange(Body):
    """What to change of a contact."""

    attributes: Attributes = Field(
        default_factory=dict, description="merged, member by member; null takes one away"
    )


class NewNote(Body):
    """Something written down about a contact, or about one conversation with them."""

    text: NoteText
    session_id: UUID | None = None


class NoteChange(Body):
    """What a note says instead."""

    text: NoteText


class NewTaskOfContact(Body):
    """A task. Without ``text`` it is the follow-up of its session's summary, made once."""

    text: TaskText | None = None
    session_id: UUID | None = None
    assignee: Name | None = None
    due_at: DueInstant | None = None


class TaskChange(Body):
    """What to change of a task; what is left out stays."""

    text: TaskText = LEFT_OUT
    assignee: Name | None = LEFT_OUT
    due_at: DueInstant | None = LEFT_OUT
    is_done: bool = LEFT_OUT


class TasksQuery(PageQuery):
    """Which tasks to list, and which part of them."""

    state: Literal["open", "done"] = "open"
    due: ZonedInstant | None = Field(default=None, description="due before")


class ActiveChatsQuery(BaseModel):
    """How many chats to list beside the number."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)


class NewCountToken(Body):
    """A token that shows the number of active chats in browsers."""

    lasts_s: int = Field(default=3600, ge=60, le=86_400)
    origins: list[PageOrigin] = Field(
        default_factory=list, max_length=8, description="the pages it is good in; none: all"
    )


class CountTokenWithSecret(BaseModel):
    """A token and when it ends."""

    token: str
    expires_at: Instant


class ActiveCount(BaseModel):
    """How many chats are active."""

    active_chats_count: int


class ActiveSessionsQuery(BaseModel):
    """How many sessions to list beside the number."""

    limit: int = Field(default=MAX_LIMIT, ge=1, le=MAX_LIMIT)


class BusinessPage(Page[Business]):
    """A page of businesses."""


class ConnectionPage(Page[Connection]):
    """A page of connections."""


class ApiKeyPage(Page[ApiKey]):
    """A page of keys."""


class SessionPage(Page[Session]):
    """A page of sessions."""


class MessagePage(Page[Message]):
    """A page of messages."""


class ContactPage(Page[Contact]):
    """A page of contacts."""


class NotePage(Page[Note]):
    """A page of notes."""


class TaskPage(Page[Task]):
    """A page of tasks."""


class OlderSession(Resource):
    """A session as the older session API shows it."""

    session_id: UUID
    phone_number: str
    status: str
    created_at: Instant
    last_activity: Instant
    message_count: int
    order_details: dict[str, Any]
    context: dict[str, Any]


class OlderMessage(Resource):
    """A message as a chat model reads it: the customer is the ``user``."""

    role: Literal["user", "assistant", "system"]
    content: str
    timestamp: Instant
    type: str
    message_id: UUID


class OlderConversation(Resource):
    """The active session of a phone number, with everything said in it."""

    session: OlderSession
    conversation_history: list[OlderMessage]
    message_count: int


class OlderActiveSessions(Resource):
    """The active sessions: how many there are, and those with the latest deadlines."""

    active_sessions: list[OlderSession]
    total_active: int


class OlderMessageAnswer(Resource):
    """A sentence."""

    message: str
