"""The console's words for stored values: one function per kind, called from templates.

A value without a word here is shown as it is stored, so a newer row never breaks a page.
"""

from __future__ import annotations

from timer_http.console.i18n import gettext
from timer_service.journal import Entry, EventKind
from timer_service.messages import (
    CloseReason,
    ConnectionState,
    Delivery,
    MemberRole,
    ProviderName,
    SummarizerChoice,
    TouchOn,
)
from timer_service.passwords import LONGEST, SHORTEST, Weakness
from timer_service.resources import Session
from timer_service.status_reasons import explain

_PROVIDERS: dict[str, str] = {
    ProviderName.META: "WhatsApp Cloud API",
    ProviderName.BAILEYS: "Baileys",
    ProviderName.TWILIO: "Twilio",
    ProviderName.WAHA: "WAHA",
}
_SHAPES: dict[str, str] = {
    ConnectionState.CONNECTED: "good",
    ConnectionState.WAITING_QR: "waiting",
    ConnectionState.ACTION_REQUIRED: "waiting",
    ConnectionState.CONNECTING: "waiting",
    ConnectionState.NEW: "unknown",
}
_TICKS: dict[str, str] = {
    Delivery.QUEUED: "◷",
    Delivery.SENDING: "◷",
    Delivery.PENDING: "◷",
    Delivery.UNKNOWN: "?",
    Delivery.SENT: "✓",
    Delivery.DELIVERED: "✓✓",
    Delivery.READ: "✓✓",
    Delivery.PLAYED: "✓✓",
    Delivery.FAILED: "✕",
}


def provider(name: str) -> str:
    """Return the name people know a gateway by."""
    return _PROVIDERS.get(name, name)


def connection_state(status: str) -> str:
    """Say what a gateway last told of a connection."""
    return {
        ConnectionState.NEW.value: gettext("No status yet"),
        ConnectionState.CONNECTING.value: gettext("Connecting"),
        ConnectionState.WAITING_QR.value: gettext("Waiting for QR"),
        ConnectionState.ACTION_REQUIRED.value: gettext("Waiting for confirmation"),
        ConnectionState.CONNECTED.value: gettext("Connected"),
        ConnectionState.STOPPED.value: gettext("Disconnected"),
        ConnectionState.LOGGED_OUT.value: gettext("Disconnected"),
        ConnectionState.FAILED.value: gettext("Disconnected"),
        ConnectionState.REMOVED.value: gettext("Disconnected"),
    }.get(status, status)


def connection_shape(status: str) -> str:
    """Return which mark stands before the word: ``good``, ``waiting``, ``unknown`` or ``bad``."""
    return _SHAPES.get(status, "bad")


def status_reason(code: str | None) -> str:
    """Say why a connection is as it is, or what was found wrong; ``""`` where nothing is known."""
    explained = explain(code)
    return "" if explained is None else gettext(explained)


def session_state(session: Session) -> str:
    """Say whether a conversation goes on, and if not, what ended it."""
    if session.is_open:
        return gettext("Active")
    return {
        CloseReason.IDLE.value: gettext("Closed: customer went quiet"),
        CloseReason.COMPLETED.value: gettext("Closed by an agent"),
        CloseReason.RECOVERED.value: gettext("Closed: recorded afterwards"),
        CloseReason.REPLACED.value: gettext("Joined with another conversation"),
    }.get(session.close_reason or "", gettext("Closed"))


def member_role(role: str) -> str:
    """Say what a person is in a business."""
    return {
        MemberRole.VIEWER.value: gettext("Viewer"),
        MemberRole.AGENT.value: gettext("Agent"),
        MemberRole.MANAGER.value: gettext("Manager"),
        MemberRole.ADMIN.value: gettext("Admin"),
    }.get(role, role)


def role_reach(role: str) -> str:
    """Say in a line what somebody with a role may do."""
    return {
        MemberRole.VIEWER.value: gettext("reads conversations and summaries"),
        MemberRole.AGENT.value: gettext("answers, closes and summarises conversations too"),
        MemberRole.MANAGER.value: gettext("changes settings, numbers and API keys too"),
        MemberRole.ADMIN.value: gettext("invites and removes people too"),
    }.get(role, "")


def weak_password(weakness: Weakness) -> str:
    """Say why a password is not good enough, and what to do."""
    return {
        Weakness.SHORT: gettext("Too short: at least %(count)s characters.", count=SHORTEST),
        Weakness.LONG: gettext("Too long: at most %(count)s characters.", count=LONGEST),
        Weakness.SIMPLE: gettext("Too easy to guess: use more different characters."),
        Weakness.LIKE_EMAIL: gettext("Too easy to guess: it is like the e-mail address."),
    }[weakness]


def too_many_tries() -> str:
    """Say that somebody guesses too often, and when to come back."""
    return gettext("Too many tries. Wait a quarter of an hour, then try again.")


def secret(name: str) -> str:
    """Return what a gateway's own pages call a secret."""
    return {
        "app_secret": gettext("App secret"),
        "verify_token": gettext("Verify token"),
        "access_token": gettext("Access token"),
        "token": gettext("Webhook token"),
        "jwt_key": gettext("JWT key"),
        "api_key": gettext("API key"),
        "auth_token": gettext("Auth token"),
        "hmac_key": gettext("HMAC key"),
    }.get(name, name)


def secret_use(name: str) -> str:
    """Say what a secret is for, and where it is found or made."""
    return {
        "app_secret": gettext("In the app's settings at Meta. Proves that webhooks are Meta's."),
        "verify_token": gettext("Make one up; type the same in the webhook settings at Meta."),
        "access_token": gettext("A permanent token of a system user. For sending only."),
        "token": gettext("Make one up. It becomes the end of the webhook address."),
        "jwt_key": gettext("Only if webhooks carry Evolution's signed token."),
        "api_key": gettext("The gateway's own key. For sending only."),
        "auth_token": gettext("In Twilio's console. Proves that webhooks are Twilio's."),
        "hmac_key": gettext("Make one up; set the same at WAHA. It signs the webhooks."),
    }.get(name, "")


def external_id(provider: str) -> str:
    """Return what a gateway calls the account's id."""
    return {
        ProviderName.META.value: gettext("Phone number ID"),
        ProviderName.BAILEYS.value: gettext("Instance name"),
        ProviderName.TWILIO.value: gettext("Account and number"),
        ProviderName.WAHA.value: gettext("Session name"),
    }.get(provider, provider)


def external_id_help(provider: str) -> str:
    """Say where the account's id stands and how it looks."""
    return {
        ProviderName.META.value: gettext("Digits, in the WhatsApp settings of the app at Meta."),
        ProviderName.BAILEYS.value: gettext("As it is called at Evolution API or your bridge."),
        ProviderName.TWILIO.value: gettext("Such as AC0123…:+15550009999."),
        ProviderName.WAHA.value: gettext("As it is called at WAHA, such as default."),
    }.get(provider, "")


def touch_rule(name: str) -> str:
    """Say which messages keep a chat open."""
    return {
        TouchOn.CUSTOMER.value: gettext("Only the customer's messages"),
        TouchOn.ANY.value: gettext("Any message, of the bot and of agents too"),
    }.get(name, name)


def summarizer(name: str) -> str:
    """Say who writes a summary."""
    return {
        SummarizerChoice.AUTO.value: gettext("A language model where there is one"),
        SummarizerChoice.OPENAI.value: gettext("A language model"),
        SummarizerChoice.EXTRACTIVE.value: gettext(
            "No model: sentences of the conversation itself"
        ),
    }.get(name, name)


def event(kind: str) -> str:
    """Say what an entry of the journal tells."""
    return {
        EventKind.CONNECTION_STATUS.value: gettext("Connection status"),
        EventKind.CONNECTION_ADDED.value: gettext("Number connected"),
        EventKind.CONNECTION_CHANGED.value: gettext("Connection changed"),
        EventKind.CONNECTION_REMOVED.value: gettext("Number removed"),
        EventKind.SETTINGS_CHANGED.value: gettext("Settings changed"),
        EventKind.KEY_MADE.value: gettext("Key made"),
        EventKind.KEY_REVOKED.value: gettext("Key revoked"),
        EventKind.USER_INVITED.value: gettext("User invited"),
        EventKind.INVITATION_WITHDRAWN.value: gettext("Invitation withdrawn"),
        EventKind.USER_JOINED.value: gettext("User joined"),
        EventKind.USER_SIGNED_IN.value: gettext("User signed in"),
        EventKind.USER_ROLE_CHANGED.value: gettext("Role changed"),
        EventKind.USER_REMOVED.value: gettext("User removed"),
        EventKind.SUMMARY_PARKED.value: gettext("Summary given up"),
    }.get(kind, kind)


def event_detail(entry: Entry) -> str:
    """Write what an entry says beside its kind: a status, a role, an address."""
    if entry.kind == EventKind.CONNECTION_STATUS:
        return connection_state(entry.detail)
    return member_role(entry.detail)


def actor(entry: Entry) -> str:
    """Say who did it."""
    return entry.actor_name or {
        "admin": gettext("The admin key"),
        "gateway": gettext("The gateway"),
        "key": gettext("A key"),
        "person": gettext("Somebody who is gone"),
        "service": gettext("The service"),
    }.get(entry.actor_kind, entry.actor_kind)


def author(name: str) -> str:
    """Say who wrote a message."""
    return {
        "customer": gettext("Customer"),
        "agent": gettext("Agent"),
        "bot": gettext("Bot"),
        "system": gettext("System"),
    }.get(name, name)


def delivery(status: str) -> str:
    """Say how far an outgoing message got."""
    return {
        Delivery.QUEUED.value: gettext("Waiting to be sent"),
        Delivery.SENDING.value: gettext("Waiting to be sent"),
        Delivery.PENDING.value: gettext("Waiting to be sent"),
        Delivery.UNKNOWN.value: gettext("Nobody knows whether it was sent"),
        Delivery.SENT.value: gettext("Sent"),
        Delivery.DELIVERED.value: gettext("Delivered"),
        Delivery.READ.value: gettext("Read"),
        Delivery.PLAYED.value: gettext("Played"),
        Delivery.FAILED.value: gettext("Not delivered"),
    }.get(status, status)


def delivery_ticks(status: str) -> str:
    """Return the mark of a delivery state; its word stands beside it for screen readers."""
    return _TICKS.get(status, "")


def message_type(name: str) -> str:
    """Say what a message without plain text is; ``""`` for text."""
    return {
        "text": "",
        "image": gettext("Photo"),
        "video": gettext("Video"),
        "document": gettext("Document"),
        "audio": gettext("Audio"),
        "voice": gettext("Voice message"),
        "sticker": gettext("Sticker"),
        "location": gettext("Location"),
        "contacts": gettext("Contact card"),
        "button_reply": gettext("Button pressed"),
        "list_reply": gettext("Chosen from a list"),
        "order": gettext("Order"),
        "system": gettext("WhatsApp notice"),
        "media": gettext("Photo, video or file"),
        "unsupported": gettext("A kind of message that cannot be shown"),
    }.get(name, name)


def summary_skipped(reason: str | None) -> str:
    """Say why a conversation has no summary and will have none."""
    if reason == "too_short":
        return gettext("Nothing was said that needs a summary.")
    return gettext("No summary is made of this conversation.")
