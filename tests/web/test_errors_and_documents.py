"""What holds for every answer: problems, security headers, the OpenAPI document, the cookie."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from structlog.testing import capture_logs

from tests.web.shop import ADMIN_KEY, Shop, bearer, evolution_body, path_of
from timer_http import auth, create_app, webhooks
from timer_http.api import blueprints
from timer_http.context import attach_services
from timer_service.access import Keys
from timer_service.service import TimerService
from timer_service.settings import Settings
from timer_service.wiring import WebServices, build_web


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    problem = json.loads(answer.data)
    assert problem["status"] == status
    assert problem["title"]
    return problem


def test_every_kind_of_error_is_a_problem(client: FlaskClient, shop: Shop) -> None:
    manager = bearer(shop.keys["manager"])
    assert_problem(client.get("/api/nothing"), 404)
    not_allowed = client.put("/api/sessions", headers=manager)
    assert_problem(not_allowed, 405)
    assert set(not_allowed.headers["Allow"].split(", ")) >= {"GET", "POST"}
    too_large = client.post(
        "/api/sessions", data=b"[" * (4 * 2**20 + 1), headers=manager, mimetype="application/json"
    )
    assert_problem(too_large, 413)
    assert_problem(client.post("/api/sessions", data=b"{}", headers=manager), 415)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"NaN", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": Infinity}',
        b'{"a": 123456789012345678901}', b"[" * 100_000, b'{"a":' * 40 + b"1" + b"}" * 40,
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_is_400(shop: Shop, body: bytes) -> None:
    for method, path in (("POST", "/api/sessions"), ("PATCH", f"/api/businesses/{shop.id}")):
        answer = shop.request(method, path, data=body, content_type="application/json")
        assert_problem(answer, 400)


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"text"', b'"{\\"name\\": \\"x\\"}"'])
def test_a_body_that_is_no_object_is_422(shop: Shop, body: bytes) -> None:
    answer = shop.patch(f"/api/businesses/{shop.id}", data=body, content_type="application/json")
    assert assert_problem(answer, 422)["errors"] == [
        {"field": "", "message": "expected a JSON object"}
    ]


def test_what_was_sent_is_never_repeated(shop: Shop) -> None:
    canary = "canary-972501234567"
    body = {
        "connection_id": canary,
        "messages": [{"provider_message_id": [canary], "direction": canary, "text": {"x": canary}}],
    }
    answer = shop.post("/api/messages/record", body)
    errors = assert_problem(answer, 422)["errors"]
    assert len(errors) >= 4
    assert errors[0] == {"field": "connection_id", "message": "expected a UUID"}
    assert canary not in answer.text
    assert canary not in shop.get(f"/api/sessions?state={canary}&customer_wa_id={canary}").text


def test_an_unexpected_error_is_a_bare_500_and_logged_without_words(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("972501234567 said hello")

    monkeypatch.setattr(TimerService, "sessions", fail)
    with capture_logs() as logs:
        answer = shop.get("/api/sessions?customer_wa_id=972501234567")
    assert assert_problem(answer, 500) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
    }
    (line,) = [one for one in logs if one["event"] == "request_failed"]
    assert (line["kind"], line["route"]) == ("RuntimeError", "/api/sessions")
    assert line["where"]
    assert "97250" not in str(logs)


def test_every_answer_tells_the_browser_to_stay_put(client: FlaskClient, shop: Shop) -> None:
    for path in ("/api/sessions", "/healthz", "/nothing", "/docs", "/api/openapi.json", "/metrics"):
        headers = client.get(path, headers=bearer(shop.keys["viewer"])).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Strict-Transport-Security"].startswith("max-age=")
        assert headers["Cache-Control"] == "no-store"


def test_the_openapi_document_is_valid_and_names_every_call(app: Flask) -> None:
    document = app.test_client().get("/api/openapi.json").json
    assert document["openapi"] == "3.1.0"
    validate(document)
    documented = {
        (method.upper(), path) for path, calls in document["paths"].items() for method in calls
    }
    ours = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith(("console.", "rq_dashboard.", "docs_page."))
        and rule.endpoint not in {"static", "openapi_json"}
    }
    assert documented == ours
    for path, calls in document["paths"].items():
        for call in calls.values():
            assert call["summary"]
            assert call["tags"]
            is_keyed = path.startswith(("/api", "/session"))
            assert ("401" in call["responses"] and "security" in call) == is_keyed or not is_keyed
            is_twilio = "twilio" in path  # answered in TwiML, errors too
            for status, answer in call["responses"].items():
                expected = status >= "4" and not is_twilio
                assert is_problem_document(answer) == expected, (path, status)
                assert ("text/xml" in answer.get("content", {})) == is_twilio, (path, status)


def is_problem_document(answer: dict[str, Any]) -> bool:
    return "application/problem+json" in answer.get("content", {})


def test_the_documentation_page_needs_nobody_elses_files(client: FlaskClient) -> None:
    for path in ("/docs", "/docs/"):
        page = client.get(path)
        assert page.status_code == 200
        assert "//" not in page.text.replace("<!--", "")
    for asset in re.findall(r'(?:src|href)="(/docs/[^"]+)"', page.text):
        with client.get(asset) as answer:
            assert answer.status_code == 200, asset
    assert (
        "'unsafe-inline'"
        not in page.headers["Content-Security-Policy"].split("script-src")[1].split(";")[0]
    )


def test_the_blueprints_work_on_a_plain_flask_application(
    services: WebServices, shop: Shop
) -> None:
    host = Flask("host")
    attach_services(host, services)
    for blueprint in (*blueprints, webhooks.blueprint):
        host.register_blueprint(blueprint)
    client = host.test_client()
    manager = bearer(shop.keys["manager"])
    assert client.get("/api/sessions", headers=manager).json["items"] == []
    assert_problem(client.get("/api/sessions"), 401)
    assert_problem(client.get("/api/sessions/x", headers=manager), 404)
    assert_problem(client.post("/webhooks/baileys/x"), 401)
    address = path_of(shop.connect("baileys")["webhook_url"])
    assert_problem(client.post(address, data=b"{"), 400)
    assert client.post(address, json=evolution_body(None)).status_code == 200
    assert_problem(client.post("/api/keys", json={"role": "king"}, headers=manager), 422)
    assert_problem(
        client.post("/api/keys", data="{", content_type="application/json", headers=manager), 400
    )


def test_making_the_application_opens_no_connection() -> None:
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1/0",
        encryption_keys="0" * 43 + "=",
        admin_key=ADMIN_KEY,
    )
    app = create_app(build_web(settings))
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert_problem(client.get("/api/sessions", headers=bearer("tsk_x")), 503)


# the console's cookie


def test_a_signed_in_cookie_is_kept_from_scripts_and_other_sites(
    client: FlaskClient, shop: Shop
) -> None:
    client.post("/sign-in", data={"key": shop.keys["viewer"]})
    cookie = client.get_cookie("__Host-timer")
    assert cookie is not None
    assert (cookie.http_only, cookie.secure, cookie.same_site) == (True, True, "Lax")
    assert (cookie.path, cookie.origin_only) == ("/", True)
    assert shop.keys["viewer"] not in cookie.value


def test_two_workers_agree_on_cookies_and_a_rotation_signs_nobody_out(
    settings: Settings, services: WebServices, app: Flask
) -> None:
    keys = settings.encryption_key_list()
    second = create_app(services)
    assert second.config["SECRET_KEY"] == app.config["SECRET_KEY"]
    new_key = "1" * 43 + "="
    rotated = build_web(settings.model_copy(update={"encryption_keys": _joined(new_key, *keys)}))
    third = create_app(rotated)
    assert third.config["SECRET_KEY"] != app.config["SECRET_KEY"]
    assert third.config["SECRET_KEY_FALLBACKS"] == [app.config["SECRET_KEY"]]
    rotated.database.close()


def _joined(*keys: str) -> Any:
    return Settings(encryption_keys=",".join(keys)).encryption_keys


def test_a_revoked_key_or_a_changed_admin_key_signs_out(
    client: FlaskClient, shop: Shop, services: WebServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/sign-in", data={"key": ADMIN_KEY})
    assert client.get("/rq/").status_code == 200
    monkeypatch.setattr(Keys, "admin_fingerprint", lambda _: "of another key")
    assert client.get("/rq/").status_code == 401
    monkeypatch.undo()
    client.post("/sign-in", data={"key": shop.keys["viewer"]})
    assert client.get("/rq/").status_code == 403
    key_id = shop.get("/api/keys").json["items"][1]["id"]
    assert shop.delete(f"/api/keys/{key_id}").status_code == 204
    assert client.get("/rq/").status_code == 401


def test_a_cookie_ends_after_twelve_hours_whatever_was_done_meanwhile(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/sign-in", data={"key": ADMIN_KEY})
    real = auth.epoch_s
    monkeypatch.setattr(auth, "epoch_s", lambda: real() + 12 * 3600 - 60)
    assert client.get("/rq/").status_code == 200
    monkeypatch.setattr(auth, "epoch_s", lambda: real() + 12 * 3600 + 60)
    assert client.get("/rq/").status_code == 401


def test_a_cookie_somebody_made_up_is_nobody(client: FlaskClient) -> None:
    for value in ("x", "eyJhZG1pbiI6dHJ1ZX0.aaa.bbb", ""):
        client.set_cookie("__Host-timer", value, domain="localhost")
        assert client.get("/rq/").status_code == 401
