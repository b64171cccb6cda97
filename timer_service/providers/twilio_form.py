"""Reads Twilio's request bodies: forms byte by byte, and the JSON that may come in their place.

``twilio`` and ``twilio_proof`` call this. Nothing is trimmed, repaired or dropped here: every name
and value is signed as it was before encoding. Source: twilio.com, webhook request, November 2026.
"""

from __future__ import annotations

import re
from itertools import islice

from timer_service.errors import MalformedPayload
from timer_service.providers.base import WebhookRequest
from timer_service.providers.json_body import JsonObject, as_object, read_json

_FORM = "application/x-www-form-urlencoded"
# Twilio sends some thirty fields of a few thousand characters. Each costs work before anything is
# proven: 4 MB of escapes took urllib 2.4 s.
_MOST_FIELDS = 1_000
_MOST_ESCAPES = 100_000
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")


def is_form(request: WebhookRequest) -> bool:
    """Tell whether the body is a form; it is taken for one where nothing says what it is."""
    content_type = request.headers.get("content-type") or _FORM
    return content_type.partition(";")[0].strip().lower() == _FORM


def read_pairs(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return a form's names and values, decoded to bytes, in their order, blank ones too.

    ``b"Body=1%2B1+%3D2&To="`` gives ``[(b"Body", b"1+1 =2"), (b"To", b"")]``.

    Raises:
        MalformedPayload: more than a thousand fields, or a hundred thousand runs of escapes.
    """
    if body.count(b"&") >= _MOST_FIELDS:
        raise MalformedPayload(f"expected at most {_MOST_FIELDS} form fields, found more")
    if next(islice(_ESCAPES.finditer(body), _MOST_ESCAPES, None), None):
        raise MalformedPayload(f"expected at most {_MOST_ESCAPES} escapes in a form, found more")
    parts = (part.replace(b"+", b" ").partition(b"=") for part in body.split(b"&") if part)
    return [(_unescaped(name), _unescaped(value)) for name, _, value in parts]


def read_fields(request: WebhookRequest) -> JsonObject:
    """Return the fields by name, of repeated ones the first; undecodable bytes as lone surrogates.

    Raises:
        MalformedPayload: too many fields, or neither a form nor JSON.
    """
    if not is_form(request):
        return as_object(read_json(request.body))
    fields: dict[str, object] = {}
    for name, value in read_pairs(request.body):
        fields.setdefault(_decoded(name), _decoded(value))
    return fields


def _unescaped(part: bytes) -> bytes:
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].decode().replace("%", "")), part)


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
