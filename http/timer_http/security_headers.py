"""What every response tells the browser not to do; pages that need more say so themselves."""

from __future__ import annotations

import base64
import hashlib

from flask import Flask, Response

from timer_http.context import current_services

_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=31536000"


def init_app(app: Flask) -> None:
    """Set the headers on every response that does not set them itself."""
    app.after_request(_add_headers)


def inline_hash(script: str) -> str:
    """Return the source that allows exactly this inline script in a Content-Security-Policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _add_headers(response: Response) -> Response:
    said = {name.lower() for name, _ in response.headers}
    response.headers.extend(
        [(name, value) for name, value in _HEADERS.items() if name.lower() not in said]
    )
    if current_services().settings.public_url.startswith("https://"):
        response.headers.setdefault("Strict-Transport-Security", _HSTS)
    return response
