"""Refuses requests that another site makes a browser send.

For whatever trusts a cookie: the console and the job pages. Works like Go 1.25's
``http.CrossOriginProtection`` (source: its package documentation, read November 2026): no tokens in
forms, the browser itself says where a request comes from. Who is no browser sends neither header
and carries no cookie.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request
from werkzeug.exceptions import Forbidden

from timer_http.context import current_services

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OUR_SITES = frozenset({"same-origin", "none"})


def is_cross_origin() -> bool:
    """Tell whether this request changes something and comes from elsewhere."""
    if request.method in _SAFE_METHODS:
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in _OUR_SITES
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return True
    return not host or host not in {request.host, _public_host()}


def refuse_cross_origin() -> None:
    """Refuse this request if another site made it.

    Raises:
        Forbidden: it did.
    """
    if is_cross_origin():
        raise Forbidden("this request comes from another site")


def _public_host() -> str:
    return urlsplit(current_services().settings.public_url).netloc
