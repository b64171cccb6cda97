"""The tables as SQLAlchemy sees them; `records` queries them, `migrations/` makes them.

Instants are ``timestamptz`` by Postgres's own clock; ids are UUIDv7; enum-like columns are text
with a check, so a new word is an ordinary migration.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from timer_service.messages import (
    Author,
    ChangeKind,
    CloseReason,
    ConnectionState,
    Delivery,
    Direction,
    MemberRole,
    ProviderName,
    PullStatus,
    SendFailure,
    SessionState,
    SummarizerChoice,
    SummaryStatus,
    TouchOn,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = text("clock_timestamp()")


def _instant(name: str, *, nullable: bool = False, default_now: bool = False) -> Column[object]:
    default = _NOW if default_now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _one_of(column: str, words: type) -> CheckConstraint:
    allowed = ", ".join(f"'{word.value}'" for word in words)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def _business_id() -> Column[object]:
    return Column(
        "business_id", Uuid, ForeignKey("businesses.id", ondelete="CASCADE"), nullable=False
    )


install = Table(
    "install",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("shards", Integer, nullable=False),
    Column("admin_key_digest", LargeBinary),
    CheckConstraint("id = 1", name="single_row"),
)

businesses = Table(
    "businesses",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("idle_gap_s", Integer, nullable=False),
    Column("touch_on", Text, nullable=False, server_default=TouchOn.CUSTOMER.value),
    Column("country", Text),
    Column("locale", Text, nullable=False, server_default="en"),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    # How its conversations are summarised; null: as the service is set, in the customer's language.
    Column("summarizer", Text),
    Column("summary_model", Text),
    Column("summary_language", Text),
    Column("summary_instructions", Text, nullable=False, server_default=""),
    _instant("created_at", default_now=True),
    # Nobody sees it any more; its rows go in small steps, this one last (timer_service.eraser).
    _instant("erased_at", nullable=True),
    # No foreign key: a connection's row stays when it is deleted, and clears this then.
    Column("default_connection_id", Uuid),
    CheckConstraint("idle_gap_s BETWEEN 1 AND 2592000", name="idle_gap_s_in_range"),
    _one_of("touch_on", TouchOn),
    _one_of("summarizer", SummarizerChoice),
    Index("ix_businesses_erased", "erased_at", postgresql_where=text("erased_at IS NOT NULL")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("digest", LargeBinary, nullable=False, unique=True),
    _instant("created_at", default_now=True),
    _instant("last_used_at", nullable=True),
    _instant("revoked_at", nullable=True),
    CheckConstraint("role IN ('viewer', 'agent', 'manager')", name="role_known"),
    Index(None, "business_id"),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    Column("provider", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("base_url", Text, nullable=False, server_default=""),
    Column("secrets", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default=ConnectionState.NEW.value),
    Column("own_number", Text),
    _instant("created_at", default_now=True),
    _instant("updated_at", default_now=True),
    _instant("deleted_at", nullable=True),
    # A word of StatusReason: not checked here, so that a new one needs no revision.
    Column("status_reason", Text),
    _instant("status_at", nullable=True),
    _instant("ask_at", nullable=True),
    _one_of("provider", ProviderName),
    _one_of("status", ConnectionState),
    Index(None, "business_id"),
    Index(
        "ix_connections_ask_at",
        "ask_at",
        postgresql_where=text("ask_at IS NOT NULL AND deleted_at IS NULL"),
    ),
    # Meta and Twilio share one webhook address among all tenants, so an account is taken once.
    Index(
        "uq_connections_account_everywhere",
        "provider",
        "external_id",
        unique=True,
        postgresql_where=text("provider IN ('meta', 'twilio') AND deleted_at IS NULL"),
    ),
    Index(
        "uq_connections_account_at_gateway",
        "business_id",
        "provider",
        "base_url",
        "external_id",
        unique=True,
        postgresql_where=text("provider IN ('baileys', 'waha') AND deleted_at IS NULL"),
    ),
)

contact_pulls = Table(
    "contact_pulls",
    metadata,
    Column(
        "connection_id", Uuid, ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("status", Text, nullable=False),
    Column("cursor", Text, nullable=False, server_default=""),
    *(
        Column(name, Integer, nullable=False, server_default="0")
        for name in ("seen", "made", "named", "linked", "skipped")
    ),
    Column("failure", Text),
    _instant("asked_at", default_now=True),
    _instant("finished_at", nullable=True),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("refusals", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("is_running", Boolean, nullable=False, server_default=text("false")),
    _instant("next_check_at", nullable=True),
    _one_of("status", PullStatus),
    Index(
        "ix_contact_pulls_unfinished",
        "next_check_at",
        postgresql_where=text("next_check_at IS NOT NULL"),
    ),
)

contacts = Table(
    "contacts",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    Column("name", Text),
    Column("session_count", Integer, nullable=False, server_default="0"),
    Column("merged_into", Uuid, ForeignKey("contacts.id", ondelete="CASCADE")),
    _instant("created_at", default_now=True),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    Index(None, "business_id", "id"),
    Index(None, "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
    # The business is a word of it too, so one's search never walks through all others' names.
    Index(
        "ix_contacts_words",
        text(
            "(to_tsvector('simple'::regconfig, name)"
            " || array_to_tsvector(ARRAY[business_id::text]))"
        ),
        postgresql_using="gin",
        postgresql_where=text("name IS NOT NULL"),
    ),
)

contact_ids = Table(
    "contact_ids",
    metadata,
    Column(
        "business_id",
        Uuid,
        ForeignKey("businesses.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("contact_id", Uuid, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    _instant("created_at", default_now=True),
    CheckConstraint("kind IN ('phone', 'lid', 'bsuid')", name="kind_known"),
    Index(None, "contact_id"),
    # People remember how a number ends.
    Index(
        "ix_contact_ids_tail",
        "business_id",
        func.reverse(text("value")).label("tail"),
        postgresql_ops={"tail": "text_pattern_ops"},
        postgresql_where=text("kind = 'phone'"),
    ),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    # No foreign key: each session would pay for it with a look-up and a lock, and a connection is
    # deleted only with its business, whose key holds every session.
    Column("connection_id", Uuid, nullable=False),
    Column("contact_id", Uuid, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    Column("customer_wa_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    _instant("created_at", default_now=True),
    _instant("started_at"),
    _instant("last_message_at", nullable=True),
    _instant("last_customer_message_at", nullable=True),
    _instant("last_touch_at"),
    _instant("deadline_at"),
    # Never later than the deadline. Indexed in its place, so that a touch changes no index (HOT);
    # the sweep moves it up once it has passed.
    Column(
        "due_not_before",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("'epoch'::timestamptz"),
    ),
    _instant("closed_at", nullable=True),
    Column("close_reason", Text),
    Column("message_count", Integer, nullable=False, server_default="0"),
    Column("context", JSONB, nullable=False, server_default=text("'{}'")),
    Column("order_details", JSONB, nullable=False, server_default=text("'{}'")),
    Column("summary_status", Text),
    Column("summary_reason", Text),
    Column("summary_attempt", Integer, nullable=False, server_default="0"),
    # How often a worker died over it; what kills them too often is parked.
    Column("summary_deaths", Integer, nullable=False, server_default="0"),
    _instant("next_check_at", nullable=True),
    _one_of("state", SessionState),
    _one_of("close_reason", CloseReason),
    _one_of("summary_status", SummaryStatus),
    CheckConstraint(
        "(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (close_reason IS NULL)",
        name="closed_whole",
    ),
    CheckConstraint("due_not_before <= deadline_at", name="due_not_before_deadline"),
    # Guarantee 2: one open session per connection (so per business) and contact, ever.
    Index(
        "uq_sessions_one_open",
        "connection_id",
        "contact_id",
        unique=True,
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "ix_sessions_due_not_before",
        "due_not_before",
        "id",
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "ix_sessions_open_of_business",
        "business_id",
        "due_not_before",
        postgresql_where=text("state = 'open'"),
    ),
    Index("ix_sessions_opened", "created_at", postgresql_where=text("state = 'open'")),
    Index("ix_sessions_closed", "closed_at", postgresql_where=text("state = 'closed'")),
    Index(
        "ix_sessions_closed_of_business",
        "business_id",
        "closed_at",
        postgresql_where=text("state = 'closed'"),
    ),
    Index("ix_sessions_of_business", "business_id", "started_at", "id"),
    Index("ix_sessions_of_contact", "contact_id", "connection_id", "started_at"),
    Index("ix_sessions_of_connection", "connection_id"),
    Index(
        "ix_sessions_summary_unfinished",
        "next_check_at",
        postgresql_where=text("next_check_at IS NOT NULL"),
    ),
    Index(
        "ix_sessions_summary_waiting",
        "business_id",
        "started_at",
        "id",
        postgresql_where=text("summary_status IN ('pending', 'running', 'failed')"),
    ),
    postgresql_with={"fillfactor": 80},  # room beside each row for the one that follows it
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The session's, and held by its key: one of their own each would cost every message a look-up,
    # a lock on the business's row, and an index.
    Column("business_id", Uuid, nullable=False),
    Column("connection_id", Uuid, nullable=False),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("provider_message_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("text", Text, nullable=False, server_default=""),
    Column("media", JSONB(none_as_null=True)),
    Column("reply_to", Text),
    Column("payload", Text),
    Column("extra", JSONB(none_as_null=True)),
    _instant("sent_at", nullable=True),
    _instant("received_at"),
    _instant("placed_at"),
    Column("status", Text),
    Column("error_code", Integer),
    # Of messages this service sends: why it was refused, in one word for all gateways.
    Column("failure", Text),
    Column("retryable", Boolean),
    _instant("edited_at", nullable=True),
    _instant("revoked_at", nullable=True),
    Column("reactions", JSONB(none_as_null=True)),
    _one_of("direction", Direction),
    _one_of("author", Author),
    _one_of("status", Delivery),
    _one_of("failure", SendFailure),
    UniqueConstraint("connection_id", "provider_message_id"),
    Index("ix_messages_of_session", "session_id", "placed_at", "received_at", "id"),
)

# Edits, revocations and reactions whose message is not there yet.
early_changes = Table(
    "early_changes",
    metadata,
    Column(
        "connection_id",
        Uuid,
        ForeignKey("connections.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("target", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    # "" where the gateway does not tell.
    Column("direction", Text, primary_key=True),
    Column("text", Text, nullable=False),
    _instant("sent_at", nullable=True),
    _instant("arrived_at", default_now=True),
    _one_of("kind", ChangeKind),
    CheckConstraint("direction IN ('in', 'out', '')", name="direction_known"),
    Index(None, "arrived_at"),
)

# Statuses whose message is not known yet: of each the furthest.
early_statuses = Table(
    "early_statuses",
    metadata,
    Column(
        "connection_id",
        Uuid,
        ForeignKey("connections.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("target", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("error_code", Integer),
    Column("retryable", Boolean),
    _instant("arrived_at", default_now=True),
    Index(None, "arrived_at"),
)

# How the messages that this service sends are sent; how far they got stands in their own rows.
sends = Table(
    "sends",
    metadata,
    Column("message_id", Uuid, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("business_id", Uuid, nullable=False),  # its message's
    Column("client_ref", Text),
    Column("recipient", Text, nullable=False),
    Column("template", JSONB(none_as_null=True)),
    # The file that goes with it, of those below; what has ended stays named here.
    Column("upload_id", Uuid),
    Column("attempt", Integer, nullable=False, server_default="1"),
    # How often the gateway refused it for the time being.
    Column("refusals", Integer, nullable=False, server_default="0"),
    # Whether a worker asks the gateway; one whose lease ends so has died over it.
    Column("is_running", Boolean, nullable=False, server_default=text("false")),
    # When its turn is, by the connection's pace.
    _instant("turn_at", nullable=True),
    _instant("next_check_at", nullable=True),
    Index(
        "uq_sends_client_ref",
        "business_id",
        "client_ref",
        unique=True,
        postgresql_where=text("client_ref IS NOT NULL"),
    ),
    Index(
        "ix_sends_unfinished",
        "next_check_at",
        postgresql_where=text("next_check_at IS NOT NULL"),
    ),
)

# Files a business handed over to be sent; the bytes are on a disk (timer_service.media_files).
uploads = Table(
    "uploads",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    Column("mime_type", Text, nullable=False),
    Column("file_name", Text),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    _instant("created_at", default_now=True),
    _instant("expires_at"),
    Index(None, "business_id"),
    Index(None, "expires_at"),
)

summaries = Table(
    "summaries",
    metadata,
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("business_id", Uuid, nullable=False),  # its session's
    Column("attempt", Integer, nullable=False),
    Column("summarizer", Text, nullable=False),
    Column("model", Text),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("customer", Text),
    Column("asked_for", Text),
    Column("provided", Text),
    Column("next_steps", Text),
    Column("follow_up", Text),
    Column("language", Text, nullable=False),
    Column("sentiment", Text, nullable=False),
    Column("message_ids", ARRAY(Uuid), nullable=False),
    Column("dropped_messages", Integer, nullable=False, server_default="0"),
    Column("tokens", Integer),
    _instant("created_at", default_now=True),
    Index(
        "ix_summaries_follow_up",
        "business_id",
        postgresql_where=text("follow_up IS NOT NULL"),
    ),
)

# What a closed session is found by: the words of its messages and summary and of the customer's
# name, and the business as a word of its own. One row a conversation, written when it is over, so
# that no message that arrives pays for it.
session_words = Table(
    "session_words",
    metadata,
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("business_id", Uuid, nullable=False),  # its session's
    _instant("started_at"),
    Column("words", TSVECTOR, nullable=False),
    Index("ix_session_words_of_business", "business_id", "started_at", "session_id"),
    Index("ix_session_words_words", "words", postgresql_using="gin"),
)

# Sessions whose words changed since: marked with the change, in its transaction.
stale_words = Table(
    "stale_words",
    metadata,
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
)


def _of_contact(table: str) -> tuple[Column[object] | Index, ...]:
    return (
        Column("business_id", Uuid, nullable=False),  # its contact's
        Column("contact_id", Uuid, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
        # What was noted stays with the contact when a session is old enough to go.
        Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="SET NULL")),
        Index(None, "contact_id", "id"),
        Index(
            f"ix_{table}_of_session",
            "session_id",
            postgresql_where=text("session_id IS NOT NULL"),
        ),
    )


notes = Table(
    "notes",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_of_contact("notes"),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("author_id", Uuid),
    _instant("created_at", default_now=True),
    _instant("edited_at", nullable=True),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_of_contact("tasks"),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("author_id", Uuid),
    Column("assignee", Text),
    # Made of its session's summary, which happens once however often somebody asks.
    Column("is_follow_up", Boolean, nullable=False, server_default=text("false")),
    _instant("due_at", nullable=True),
    _instant("done_at", nullable=True),
    _instant("created_at", default_now=True),
    Index("uq_tasks_follow_up", "session_id", unique=True, postgresql_where=text("is_follow_up")),
    Index("ix_tasks_open", "business_id", "due_at", "id", postgresql_where=text("done_at IS NULL")),
    Index(
        "ix_tasks_done",
        "business_id",
        "done_at",
        "id",
        postgresql_where=text("done_at IS NOT NULL"),
    ),
)

close_callbacks = Table(
    "close_callbacks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    _instant("created_at", default_now=True),
)

callback_runs = Table(
    "callback_runs",
    metadata,
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "callback_id", Uuid, ForeignKey("close_callbacks.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("attempt", Integer, nullable=False, server_default="1"),
    # Whether a worker is at it; one whose lease ends so has died over it.
    Column("is_running", Boolean, nullable=False, server_default=text("false")),
    Column("deaths", Integer, nullable=False, server_default="0"),
    # Neither this nor the next: parked.
    _instant("next_check_at", nullable=True),
    _instant("done_at", nullable=True),
    Index(None, "callback_id"),
    Index(
        "ix_callback_runs_unfinished",
        "next_check_at",
        postgresql_where=text("next_check_at IS NOT NULL"),
    ),
)

# Which hosts' spools hold messages that no session knows of yet: closers leave alone what falls due
# after the oldest of them. Here as in Redis, for either may be away.
spool_announcements = Table(
    "spool_announcements",
    metadata,
    Column("spool_id", Text, primary_key=True),
    _instant("oldest_at"),
    _instant("announced_at"),
)

duties = Table(
    "duties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    _instant("ends_at"),
)

# What is worth knowing afterwards; written by note_in_journal, which deletes what is too old.
journal = Table(
    "journal",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    _instant("at", default_now=True),
    Column("kind", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Uuid),
    Column("subject_id", Uuid),
    Column("detail", Text, nullable=False, server_default=""),
    Index(None, "business_id", "at", "id"),
)

# Who signs in to the console. Programs have keys (api_keys).
people = Table(
    "people",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False, unique=True),  # in small letters
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    _instant("created_at", default_now=True),
    _instant("password_changed_at", default_now=True),
)

members = Table(
    "members",
    metadata,
    Column("business_id", Uuid, ForeignKey("businesses.id", ondelete="CASCADE"), primary_key=True),
    Column("person_id", Uuid, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("role", Text, nullable=False),
    _instant("created_at", default_now=True),
    _one_of("role", MemberRole),
    Index(None, "person_id"),
)

# Links that let somebody become a member, each once. An e-mail address has one in each business.
invitations = Table(
    "invitations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _business_id(),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    _instant("created_at", default_now=True),
    _instant("ends_at"),
    _one_of("role", MemberRole),
    UniqueConstraint("business_id", "email"),
)

# Links that let somebody choose a new password, each once.
password_resets = Table(
    "password_resets",
    metadata,
    Column("person_id", Uuid, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    _instant("ends_at"),
)

# The browsers people are signed in with. The cookie holds a token, the row its digest.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("person_id", Uuid, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    _instant("created_at", default_now=True),
    _instant("seen_at", default_now=True),
    _instant("ends_at"),
    Index(None, "person_id"),
    Index(None, "ends_at"),
)

# How often somebody tried to sign in of late: as an account, and from an address, as digests.
sign_in_tries = Table(
    "sign_in_tries",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("tries", Integer, nullable=False),
    _instant("ends_at"),
    Index(None, "ends_at"),
)
