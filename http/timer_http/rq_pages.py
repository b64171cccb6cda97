"""``/rq/``: RQ's own pages (rq-dashboard 0.9.0), for the admin only.

The package trusts everybody, lets a GET requeue jobs and builds pages out of job texts without
escaping them (source: its installed code, November 2026). So everything below ``/rq`` passes a
guard first, and its pages may run no script but the package's own.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import rq_dashboard.web  # type: ignore[import-untyped]
from flask import Flask, Response, current_app, request
from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Conflict, MethodNotAllowed, NotFound, ServiceUnavailable

from timer_http.auth import caller_from_request, check_role
from timer_http.origin import refuse_cross_origin
from timer_http.problems import (
    MEDIA_TYPE,
    answer_error,
    problem_response,
    unauthorized_problem,
)
from timer_http.security_headers import inline_hash
from timer_service.doctor import masked
from timer_service.messages import Role
from timer_service.settings import Settings
from timer_service.wiring import queue_url, rq_client

PREFIX = "/rq"
_CLIENT = "timer_http.rq_client"

_INLINE_SCRIPT = re.compile(r'<script type="text/javascript">(.*?)</script>', re.DOTALL)
_SIGN_IN_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Jobs</title>
<p>These pages are the admin's. <a href="/sign-in?next=/rq/">Sign in</a></p></html>
"""


def init_app(app: Flask, settings: Settings) -> None:
    """Mount the pages and their guard."""
    client = rq_client(settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = (masked(queue_url(settings)),)  # shown, not used
    app.config["RQ_DASHBOARD_POLL_INTERVAL"] = 5000
    app.redis_conn = client  # type: ignore[attr-defined]  # where the package looks for it
    app.extensions[_CLIENT] = client
    # Its own way to a client knows no TLS to Sentinels, and retries for minutes.
    rq_dashboard.web.from_url = _own_client
    rq_dashboard.web.config.serializer = JSONSerializer

    def guard() -> Response | None:
        if request.path != PREFIX and not request.path.startswith(f"{PREFIX}/"):
            return None
        refused = _refuse_strangers()
        if refused is not None:
            return refused
        if request.endpoint == "rq_dashboard.requeue_all" and request.method != "POST":
            raise MethodNotAllowed(["POST"])
        refuse_cross_origin()
        if (request.view_args or {}).get("instance_number", 0) != 0:
            raise NotFound  # one queue server is all there is
        if request.endpoint is not None and not request.endpoint.endswith(".static"):
            try:
                client.ping()
            except (RedisError, OSError):
                raise ServiceUnavailable("the queue's Redis does not answer") from None
        return None

    app.before_request(guard)
    app.register_blueprint(rq_dashboard.web.blueprint, url_prefix=PREFIX)
    app.after_request(_allow_own_scripts)
    app.url_build_error_handlers.append(_find_icon)
    app.register_error_handler(NoSuchJobError, lambda _: answer_error(NotFound()))
    app.register_error_handler(InvalidJobOperation, lambda _: answer_error(Conflict()))


def _own_client(*_: Any, **__: Any) -> tuple[None, Redis]:
    """Stand in for the package's `from_url`, which answers Sentinels and a client."""
    client: Redis = current_app.extensions[_CLIENT]
    return None, client


def _refuse_strangers() -> Response | None:
    caller = caller_from_request()
    if caller is not None:
        check_role(caller, Role.ADMIN)
        return None
    response = problem_response(unauthorized_problem())
    if request.accept_mimetypes.best_match([MEDIA_TYPE, "text/html"]) == "text/html":
        response = Response(_SIGN_IN_PAGE, HTTPStatus.UNAUTHORIZED, mimetype="text/html")
    response.www_authenticate = WWWAuthenticate("bearer")
    return response


def _find_icon(error: Exception, endpoint: str, _: dict[str, Any]) -> str:
    """Stand in for the application's static files, where the pages look for their icon."""
    if endpoint == "static":
        return f"{PREFIX}/favicon.ico"
    raise error


def _allow_own_scripts(response: Response) -> Response:
    if request.blueprint != "rq_dashboard" or response.mimetype != "text/html":
        return response
    scripts = " ".join(map(inline_hash, _INLINE_SCRIPT.findall(response.get_data(as_text=True))))
    # Its templates are compiled in the browser, hence unsafe-eval.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; connect-src 'self'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )
    response.headers["X-Frame-Options"] = "SAMEORIGIN"  # the console shows them in its own frame
    return response
