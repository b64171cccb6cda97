"""The blueprint every console page hangs on, and what holds for each of them."""

from __future__ import annotations

from flask import Blueprint, Response

from timer_http.origin import refuse_cross_origin

blueprint = Blueprint(
    "console",
    "timer_http",
    template_folder="templates",
    static_folder="static",
    static_url_path="/console/static",
)
blueprint.before_request(refuse_cross_origin)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@blueprint.after_request
def allow_own_files(response: Response) -> Response:
    """Allow our own files and nothing else; the application adds the other headers."""
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return response
