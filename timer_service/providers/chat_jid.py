"""WhatsApp's own addresses (JIDs): which chats are not one customer's.

The parsers of gateways that speak of chats by JID call this (``baileys``, ``waha``).
Source: Baileys source code and WAHA's documentation, read August 2026.
"""

from __future__ import annotations

_SKIPPED_SERVERS = {
    "g.us": "group",
    "broadcast": "broadcast",
    "newsletter": "newsletter",
    "bot": "system",
    "call": "system",
}


def skip_reason(jid: str) -> str | None:
    """Return why a chat is not one customer's (a group, a story, a channel …), else None.

    Decided by the server part: old group ids begin with a phone number.
    """
    if jid == "status@broadcast":
        return "status_broadcast"
    return _SKIPPED_SERVERS.get(jid.rpartition("@")[2])
