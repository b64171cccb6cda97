"""What each ``StatusReason`` means, in plain words, and what to do about it.

For the API, the shell and, translated, the console; programs compare the reason itself.
"""

from __future__ import annotations

from timer_service.errors import GatewayFailed
from timer_service.messages import StatusReason


def N_(words: str) -> str:  # noqa: N802 - the name by which Babel finds what is translated later
    """Return ``words``: the console's catalogues hold what stands in it."""
    return words


_WORDS = {
    StatusReason.QR_TO_SCAN: N_("Waiting for somebody to scan the QR code with WhatsApp."),
    StatusReason.QR_NOT_SCANNED: N_(
        "Nobody scanned a QR code in time: start the connection again and scan the new one."
    ),
    StatusReason.PASSKEY: N_("WhatsApp asks for a passkey: confirm it in the gateway's dashboard."),
    StatusReason.STOPPED: N_("Stopped at the gateway: start it."),
    StatusReason.NOT_LINKED: N_("Not linked to a phone: start it and scan the QR code."),
    StatusReason.UNLINKED: N_(
        "Logged out, or unlinked on the phone: start it and scan a new QR code."
    ),
    StatusReason.TEMPORARILY_BANNED: N_("WhatsApp has banned this number for a time."),
    StatusReason.NUMBER_REFUSED: N_(
        "WhatsApp refuses this number: it is banned, or logged out on its own phone."
    ),
    StatusReason.OUTDATED: N_("WhatsApp refuses the gateway's version: update the gateway."),
    StatusReason.MULTI_DEVICE: N_("The phone's WhatsApp does not fit linked devices: update it."),
    StatusReason.CONNECTION_LOST: N_(
        "The connection to WhatsApp was lost; the gateway connects again by itself."
    ),
    StatusReason.REPLACED: N_(
        "Another program uses the same link: stop one of the two, then restart this one."
    ),
    StatusReason.LINK_DAMAGED: N_(
        "What the gateway kept of the link is damaged: log out, link again."
    ),
    StatusReason.WHATSAPP_UNAVAILABLE: N_(
        "WhatsApp is not available; the gateway connects again by itself."
    ),
    StatusReason.RESTART_REQUIRED: N_(
        "WhatsApp asked for a restart, as it does after linking; the gateway does so by itself."
    ),
    StatusReason.LINK_FAILED: N_(
        "The gateway gave the link up: restart it; where that does not help log out, link again."
    ),
    StatusReason.UNREACHABLE: N_(
        "The gateway cannot be reached at its address: is it running, is base_url right?"
    ),
    StatusReason.NO_ANSWER: N_("The gateway did not answer in time."),
    StatusReason.KEY_REFUSED: N_("The key is not accepted: check the connection's secrets."),
    StatusReason.NOT_THERE: N_("The gateway does not know this account: create it there."),
    StatusReason.LICENCE: N_("The gateway wants its licence activated before it does anything."),
    StatusReason.RATE_LIMITED: N_("The gateway was asked too often: try again in some minutes."),
    StatusReason.REDIRECTED: N_(
        "The address leads to another one, which is not followed: set base_url to where it leads."
    ),
    StatusReason.GATEWAY_FAULT: N_("The gateway met a fault of its own: look into its log."),
    StatusReason.GATEWAY_REFUSED: N_("The gateway refused: look into its log."),
    StatusReason.NOT_UNDERSTOOD: N_(
        "The answer is not the gateway's: does base_url lead to the gateway itself?"
    ),
    StatusReason.WORKER_DIED: N_("Worker after worker died over it: see the workers' log."),
    StatusReason.SECRET_MISSING: N_(
        "The connection lacks a secret or address that the gateway is asked with."
    ),
    StatusReason.TOKEN_INVALID: N_("The access token is not valid: make a new one."),
    StatusReason.TOKEN_EXPIRED: N_(
        "The access token has expired: make a new one, of a system user, which does not expire."
    ),
    StatusReason.PERMISSION_MISSING: N_(
        "The key may not use this number: give it whatsapp_business_messaging and "
        "whatsapp_business_management, and the account as an asset."
    ),
    StatusReason.NUMBER_UNKNOWN: N_(
        "There is no such phone_number_id, or the token may not see it. The number itself is none."
    ),
    StatusReason.NUMBER_NOT_REGISTERED: N_("The number is not registered for the Cloud API yet."),
    StatusReason.NAME_NOT_APPROVED: N_("The number's display name is not approved."),
    StatusReason.QUALITY_LOW: N_("Customers block or report this number: its quality is low."),
    StatusReason.SENDING_LIMITED: N_("The number may send only a part of what it should."),
    StatusReason.SENDING_BLOCKED: N_("The number may not send: see its account at the provider."),
    StatusReason.APP_NOT_SUBSCRIBED: N_(
        "No app is subscribed to the WhatsApp Business Account, so no message arrives: subscribe "
        "the app to it."
    ),
    StatusReason.ACCOUNT_SUSPENDED: N_("The account is suspended: see its balance and messages."),
    StatusReason.ACCOUNT_CLOSED: N_("The account is closed."),
    StatusReason.SENDER_UNKNOWN: N_(
        "The account has no WhatsApp sender of this number; a sandbox's is never listed."
    ),
    StatusReason.SENDER_OFFLINE: N_("The WhatsApp sender is not online at the provider."),
    StatusReason.WEBHOOK_NOT_SET: N_(
        "The gateway does not send its events here: set the webhook up."
    ),
    StatusReason.WEBHOOK_ELSEWHERE: N_(
        "The provider sends this number's events to another address."
    ),
    StatusReason.NOT_CHECKED: N_("A part could not be checked with this key."),
}


def explain(reason: str | None) -> str | None:
    """Return a reason in words; None for none, or one that a newer program wrote."""
    try:
        return None if reason is None else _WORDS[StatusReason(reason)]
    except ValueError:
        return None


def gateway_failed(reason: StatusReason) -> GatewayFailed:
    """Make the error that says so."""
    return GatewayFailed(reason.value, _WORDS[reason])
