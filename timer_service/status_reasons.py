"""What each ``StatusReason`` means, in plain words, and what to do about it.

For the API, the shell and the console's settings; programs compare the reason itself.
"""

from __future__ import annotations

from timer_service.errors import GatewayFailed
from timer_service.messages import StatusReason

_WORDS = {
    StatusReason.QR_TO_SCAN: "Waiting for somebody to scan the QR code with WhatsApp.",
    StatusReason.QR_NOT_SCANNED: (
        "Nobody scanned a QR code in time: start the connection again and scan the new one."
    ),
    StatusReason.PASSKEY: "WhatsApp asks for a passkey: confirm it in the gateway's dashboard.",
    StatusReason.STOPPED: "Stopped at the gateway: start it.",
    StatusReason.NOT_LINKED: "Not linked to a phone: start it and scan the QR code.",
    StatusReason.UNLINKED: (
        "Logged out, or unlinked on the phone: start it and scan a new QR code."
    ),
    StatusReason.TEMPORARILY_BANNED: "WhatsApp has banned this number for a time.",
    StatusReason.NUMBER_REFUSED: (
        "WhatsApp refuses this number: it is banned, or logged out on its own phone."
    ),
    StatusReason.OUTDATED: "WhatsApp refuses the gateway's version: update the gateway.",
    StatusReason.MULTI_DEVICE: "The phone's WhatsApp does not fit linked devices: update it.",
    StatusReason.CONNECTION_LOST: (
        "The connection to WhatsApp was lost; the gateway connects again by itself."
    ),
    StatusReason.REPLACED: (
        "Another program uses the same link: stop one of the two, then restart this one."
    ),
    StatusReason.LINK_DAMAGED: "What the gateway kept of the link is damaged: log out, link again.",
    StatusReason.WHATSAPP_UNAVAILABLE: (
        "WhatsApp is not available; the gateway connects again by itself."
    ),
    StatusReason.RESTART_REQUIRED: (
        "WhatsApp asked for a restart, as it does after linking; the gateway does so by itself."
    ),
    StatusReason.LINK_FAILED: (
        "The gateway gave the link up: restart it; where that does not help log out, link again."
    ),
    StatusReason.UNREACHABLE: (
        "The gateway cannot be reached at its address: is it running, is base_url right?"
    ),
    StatusReason.NO_ANSWER: "The gateway did not answer in time.",
    StatusReason.KEY_REFUSED: "The key is not accepted: check the connection's secrets.",
    StatusReason.NOT_THERE: "The gateway does not know this account: create it there.",
    StatusReason.LICENCE: "The gateway wants its licence activated before it does anything.",
    StatusReason.RATE_LIMITED: "The gateway was asked too often: try again in some minutes.",
    StatusReason.REDIRECTED: (
        "The address leads to another one, which is not followed: set base_url to where it leads."
    ),
    StatusReason.GATEWAY_FAULT: "The gateway met a fault of its own: look into its log.",
    StatusReason.GATEWAY_REFUSED: "The gateway refused: look into its log.",
    StatusReason.NOT_UNDERSTOOD: (
        "The answer is not the gateway's: does base_url lead to the gateway itself?"
    ),
    StatusReason.WORKER_DIED: "Worker after worker died over it: see the workers' log.",
    StatusReason.SECRET_MISSING: (
        "The connection lacks a secret or address that the gateway is asked with."
    ),
    StatusReason.TOKEN_INVALID: "The access token is not valid: make a new one.",
    StatusReason.TOKEN_EXPIRED: (
        "The access token has expired: make a new one, of a system user, which does not expire."
    ),
    StatusReason.PERMISSION_MISSING: (
        "The key may not use this number: give it whatsapp_business_messaging and "
        "whatsapp_business_management, and the account as an asset."
    ),
    StatusReason.NUMBER_UNKNOWN: (
        "There is no such phone_number_id, or the token may not see it. The number itself is none."
    ),
    StatusReason.NUMBER_NOT_REGISTERED: "The number is not registered for the Cloud API yet.",
    StatusReason.NAME_NOT_APPROVED: "The number's display name is not approved.",
    StatusReason.QUALITY_LOW: "Customers block or report this number: its quality is low.",
    StatusReason.SENDING_LIMITED: "The number may send only a part of what it should.",
    StatusReason.SENDING_BLOCKED: "The number may not send: see its account at the provider.",
    StatusReason.APP_NOT_SUBSCRIBED: (
        "No app is subscribed to the WhatsApp Business Account, so no message arrives: subscribe "
        "the app to it."
    ),
    StatusReason.ACCOUNT_SUSPENDED: "The account is suspended: see its balance and messages.",
    StatusReason.ACCOUNT_CLOSED: "The account is closed.",
    StatusReason.SENDER_UNKNOWN: (
        "The account has no WhatsApp sender of this number; a sandbox's is never listed."
    ),
    StatusReason.SENDER_OFFLINE: "The WhatsApp sender is not online at the provider.",
    StatusReason.WEBHOOK_NOT_SET: (
        "The gateway does not send its events here: set the webhook up."
    ),
    StatusReason.WEBHOOK_ELSEWHERE: "The provider sends this number's events to another address.",
    StatusReason.NOT_CHECKED: "A part could not be checked with this key.",
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
