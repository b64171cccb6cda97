"""Proof of origin for Twilio: ``X-Twilio-Signature``.

``twilio`` calls this. base64(HMAC-SHA1(auth token, URL + every distinct name and value, sorted));
where the body is JSON, the URL alone, whose ``bodySHA256`` must be the body's hash. Twilio's own
library raises where the header is missing and where a JSON body has no hash; this refuses.
Source: twilio.com, webhooks security, and twilio-python 9.13.0, read November 2026.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from timer_service.errors import MalformedPayload
from timer_service.providers.base import WebhookRequest
from timer_service.providers.proof import is_same_secret, keyed_digest
from timer_service.providers.twilio_form import is_form, read_pairs

_URL = re.compile(r"(https?)://([^/?#]*?)(:[0-9]+)?([/?#].*)?", re.DOTALL | re.IGNORECASE)


def is_signed(request: WebhookRequest, tokens: Iterable[object]) -> bool:
    """Tell whether one of the tokens signed the request. Never raises."""
    covered = _signed_values(request)
    if covered is None:
        return False
    offered = request.headers.get("x-twilio-signature")
    matches = [
        is_same_secret(_signature(token, url, covered), offered)
        for token in tokens
        for url in _spellings(request.url)
    ]
    return any(matches)


def _signed_values(request: WebhookRequest) -> bytes | None:
    """Return what is signed behind the URL, None where the body cannot be what was signed."""
    if not is_form(request):
        digest = hashlib.sha256(request.body).hexdigest()
        return b"" if is_same_secret(digest, request.query.get("bodySHA256")) else None
    try:
        pairs = read_pairs(request.body)
    except MalformedPayload:
        return None
    return b"".join(name + value for name, value in sorted(set(pairs)))


def _spellings(url: str) -> list[str]:
    """Return the URL with and without its port: Twilio is inconsistent in which one it signs.

    The rest stays byte for byte: it may end in a query whose order and escapes are signed too.
    """
    parts = _URL.fullmatch(url)
    if parts is None:
        return [url]
    scheme, host, port, rest = parts.groups(default="")
    port = port or (":443" if scheme.lower() == "https" else ":80")
    return [f"{scheme}://{host}{rest}", f"{scheme}://{host}{port}{rest}"]


def _signature(token: object, url: str, covered: bytes) -> str | None:
    digest = keyed_digest(token, url.encode("utf-8", "surrogatepass") + covered, "sha1")
    return None if digest is None else base64.b64encode(digest).decode("ascii")
