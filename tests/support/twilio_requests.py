"""Twilio's requests as Twilio makes them, signed by code of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl, urlencode

SID = "AC00000000000000000000000000000001"
NUMBER = "+15550009999"
ACCOUNT = f"{SID}:{NUMBER}"


def twilio_body(
    account: str = ACCOUNT, message_id: str = f"SM{1:032x}", **changes: str | None
) -> bytes:
    """Make a form with a customer's message; a field given as None is left out."""
    sid, _, number = account.partition(":")
    fields: dict[str, str | None] = {
        "AccountSid": sid,
        "ApiVersion": "2010-04-01",
        "Body": "hello",
        "From": "whatsapp:+972500000001",
        "MessageSid": message_id,
        "MessageType": "text",
        "NumMedia": "0",
        "ProfileName": "Dana",
        "SmsStatus": "received",
        "To": f"whatsapp:{number}",
        "WaId": "972500000001",
        **changes,
    }
    return urlencode({name: one for name, one in fields.items() if one is not None}).encode()


def twilio_status(account: str, message_id: str, status: str, **changes: str | None) -> bytes:
    """Make a status callback of a message that went to the same customer."""
    _, _, number = account.partition(":")
    ends = {"From": f"whatsapp:{number}", "To": "whatsapp:+972500000001"}
    names = dict.fromkeys(("Body", "ProfileName", "WaId", "NumMedia", "MessageType"))
    told: dict[str, Any] = {"MessageStatus": status, "SmsStatus": status}
    return twilio_body(account, message_id, **{**names, **ends, **told, **changes})


def twilio_headers(url: str, body: bytes, token: str) -> dict[str, str]:
    """Return the headers of a form that was sent to an address."""
    pairs = parse_qsl(body.decode(), keep_blank_values=True)
    signed = url + "".join(name + value for name, value in sorted(set(pairs)))
    return {"X-Twilio-Signature": signature(signed, token), "Content-Type": FORM}


def signature(signed: str, token: str, *, encoding: str = "utf-8") -> str:
    """Return what ``X-Twilio-Signature`` is for a text."""
    digest = hmac.new(token.encode(), signed.encode(encoding), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


FORM = "application/x-www-form-urlencoded"
