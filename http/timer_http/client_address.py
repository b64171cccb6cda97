"""Which address a request comes from, where reverse proxies may stand before us.

``TIMER_TRUSTED_PROXIES`` says how many do. Each appends the address it was called from to
``X-Forwarded-For``, so the last entries are theirs and whatever stands before those is a claim.
"""

from __future__ import annotations

from flask import request

from timer_http.context import current_services


def client_address() -> str:
    """Return the address of whoever asks, as far as our own proxies tell."""
    proxies = current_services().settings.trusted_proxies
    nearest = request.remote_addr or ""
    if not proxies:
        return nearest
    told = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    return told[-proxies] if len(told) >= proxies and told[-proxies] else nearest
