"""Whose chat a Baileys message key belongs to: what to skip, who the customer is.

Called by the ``baileys`` parsers. A key is ``{"remoteJid": "972…@s.whatsapp.net", "fromMe": false,
"id": "AC…"}``; which field holds the phone and which the hidden id (LID) changed with nearly every
release. Source: Baileys and Evolution API source code and issues, read August 2026.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from timer_service.messages import ContactIds
from timer_service.providers import chat_jid
from timer_service.providers.json_body import JsonObject, as_contact_ids, as_text, is_true


def is_from_us(key: JsonObject) -> bool:
    """Tell whether the business wrote the message."""
    return is_true(key.get("fromMe"))


def skip_reason(key: JsonObject) -> str | None:
    """Return why a key's chat is not one customer's, else None."""
    return chat_jid.skip_reason(as_text(key.get("remoteJid")))


def customer_of(key: JsonObject, own_numbers: AbstractSet[str]) -> ContactIds:
    """Return the ids of the customer in a one-to-one chat, empty if only our own are there.

    The first phone and the first LID win. In our own messages the other addresses may be the
    author's, which is us: an alternative counts there only if it is a phone that is known not to be
    ours, or all outgoing chats would end up as one customer.
    """
    jids = [key.get("remoteJid"), key.get("previousRemoteJid")]
    alternatives = [key.get("remoteJidAlt"), key.get("senderPn"), key.get("senderLid")]
    if not is_from_us(key):
        jids += alternatives
    elif own_numbers and as_contact_ids(alternatives[0]).phone:
        jids.append(alternatives[0])
    found = [as_contact_ids(jid) for jid in jids]
    return ContactIds(
        phone=next(
            (ids.phone for ids in found if ids.phone and ids.phone not in own_numbers), None
        ),
        lid=next((ids.lid for ids in found if ids.lid), None),
    )


def is_own_chat(key: JsonObject, own_numbers: AbstractSet[str]) -> bool:
    """Tell whether the chat is the business's own."""
    return as_contact_ids(key.get("remoteJid")).phone in own_numbers
