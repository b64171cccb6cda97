"""Makes the Flask application: every surface, mounted on one set of services."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from flask import Flask, Request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_openapi.models.info import Info
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.openapi import OpenAPI

from timer_http import (
    docs_page,
    exposition,
    health,
    noting,
    problems,
    public_count,
    public_media,
    rq_pages,
    security_headers,
    webhooks,
)
from timer_http.api import blueprints
from timer_http.api.blueprint import BEARER
from timer_http.auth import COOKIE_LASTS
from timer_http.console import blueprint as console
from timer_http.console import init_app as init_console
from timer_http.context import attach_services
from timer_http.request_body import MAX_BODY_BYTES
from timer_service.settings import Settings, load_settings
from timer_service.wiring import WebServices, build_web

_API_VERSION = "1.0.0"
_OPENAPI_VERSION = "3.1.0"
_COOKIE_LABEL = b"timer-service: signs the console's cookie"


class _SignedCookie(SecureCookieSessionInterface):
    """Flask's own, but for requests without a cookie it makes no serializer: webhooks have none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)


def create_app(services: WebServices | None = None) -> Flask:
    """Make the application; services are built from the environment where none are given.

    Opens no connection. A Flask application of somebody else's can mount the API alone: see
    `timer_http.api`.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    if services is None:
        services = build_web(load_settings())
    app = OpenAPI(
        "timer_http",
        info=Info(
            title="Timer service",
            version=_API_VERSION,
            description="Knows when a WhatsApp conversation is over.",
        ),
        security_schemes={BEARER: SecurityScheme(type="http", scheme="bearer")},
        static_folder=None,  # the console serves its own
        doc_ui=False,
        validation_error_model=problems.Problem,
        validation_error_callback=problems.answer_validation_error,
    )
    app.openapi_version = _OPENAPI_VERSION
    _configure(app, services.settings)
    app.session_interface = _SignedCookie()
    attach_services(app, services)
    app.register_error_handler(Exception, problems.answer_error)
    security_headers.init_app(app)
    noting.init_app(app)
    for blueprint in (
        webhooks.blueprint,
        *blueprints,
        public_count.blueprint,
        public_media.blueprint,
        health.blueprint,
        exposition.blueprint,
    ):
        app.register_api(blueprint)
    app.add_url_rule(docs_page.SPEC_URL, "openapi_json", lambda: _document_of(app))
    app.register_blueprint(docs_page.blueprint)
    rq_pages.init_app(app, services.settings)
    app.register_blueprint(console)
    init_console(app)
    return app


def _document_of(app: OpenAPI) -> dict[str, Any]:
    document: dict[str, Any] = app.api_doc
    for calls in document["paths"].values():
        for call in calls.values():
            # flask-openapi assumes that every call reads fields; those that do say so themselves.
            if "application/json" in call["responses"].get("422", {}).get("content", {}):
                del call["responses"]["422"]
    return document


def _configure(app: Flask, settings: Settings) -> None:
    is_https = settings.public_url.startswith("https://")
    newest, *older = [_cookie_key(key) for key in settings.encryption_key_list()]
    app.config.update(
        # From the encryption keys, so that all workers agree and a rotation signs nobody out.
        SECRET_KEY=newest,
        SECRET_KEY_FALLBACKS=older,
        # Browsers keep a cookie with this prefix to this very host, and to https.
        SESSION_COOKIE_NAME="__Host-timer" if is_https else "timer",
        SESSION_COOKIE_SECURE=is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=COOKIE_LASTS,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )


def _cookie_key(encryption_key: str) -> bytes:
    return hmac.new(encryption_key.encode(), _COOKIE_LABEL, hashlib.sha256).digest()
