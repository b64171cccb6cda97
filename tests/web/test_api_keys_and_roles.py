"""Who may call what: every route of the application, each role, no key, another business's key."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.shop import ADMIN_KEY, Shop, bearer

RANKS = {"viewer": 0, "agent": 1, "manager": 2, "admin": 3}

LEAST = {
    ("POST", "/api/businesses"): "admin",
    ("GET", "/api/businesses"): "admin",
    ("GET", "/api/businesses/<business_id>"): "viewer",
    ("PATCH", "/api/businesses/<business_id>"): "manager",
    ("DELETE", "/api/businesses/<business_id>"): "admin",
    ("POST", "/api/connections"): "manager",
    ("GET", "/api/connections"): "viewer",
    ("GET", "/api/connections/<connection_id>"): "viewer",
    ("PATCH", "/api/connections/<connection_id>"): "manager",
    ("DELETE", "/api/connections/<connection_id>"): "manager",
    **{
        ("POST", f"/api/connections/<connection_id>/{action}"): "manager"
        for action in (
            *("create", "start", "stop", "restart", "log-out", "remove"),
            *("pairing-code", "set-up-webhook", "check", "pull-contacts"),
        )
    },
    ("POST", "/api/connections/<connection_id>/refresh"): "viewer",
    ("GET", "/api/connections/<connection_id>/qr"): "manager",
    ("GET", "/api/connections/<connection_id>/pull-contacts"): "viewer",
    ("POST", "/api/keys"): "manager",
    ("GET", "/api/keys"): "manager",
    ("DELETE", "/api/keys/<key_id>"): "manager",
    ("POST", "/api/messages"): "agent",
    ("POST", "/api/messages/record"): "agent",
    ("GET", "/api/messages/<message_id>"): "viewer",
    ("GET", "/api/messages/<message_id>/media"): "viewer",
    ("POST", "/api/messages/<message_id>/decide"): "agent",
    ("POST", "/api/media"): "agent",
    ("GET", "/api/whatsapp/active-chats"): "viewer",
    ("POST", "/api/active-chats-tokens"): "viewer",
    ("GET", "/api/sessions"): "viewer",
    ("POST", "/api/sessions"): "agent",
    ("GET", "/api/sessions/<session_id>"): "viewer",
    ("PATCH", "/api/sessions/<session_id>"): "agent",
    ("GET", "/api/sessions/<session_id>/messages"): "viewer",
    ("POST", "/api/sessions/<session_id>/complete"): "agent",
    ("POST", "/api/sessions/<session_id>/summarize"): "agent",
    ("GET", "/api/contacts"): "viewer",
    ("GET", "/api/contacts/<contact_id>"): "viewer",
    ("GET", "/api/contacts/<contact_id>/sessions"): "viewer",
    ("GET", "/api/contacts.csv"): "viewer",
    ("PATCH", "/api/contacts/<contact_id>"): "agent",
    ("GET", "/api/contacts/<contact_id>/notes"): "viewer",
    ("POST", "/api/contacts/<contact_id>/notes"): "agent",
    ("PATCH", "/api/notes/<note_id>"): "agent",
    ("DELETE", "/api/notes/<note_id>"): "agent",
    ("GET", "/api/contacts/<contact_id>/tasks"): "viewer",
    ("POST", "/api/contacts/<contact_id>/tasks"): "agent",
    ("GET", "/api/tasks"): "viewer",
    ("PATCH", "/api/tasks/<task_id>"): "agent",
    ("DELETE", "/api/tasks/<task_id>"): "agent",
    ("GET", "/session/<phone_number>"): "viewer",
    ("GET", "/sessions/active"): "viewer",
    ("POST", "/session/<session_id>/complete"): "agent",
}
PUBLIC = {
    "/docs",
    "/docs/assets/<path:filename>",
    "/api/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/active-chats.js",
}
GUARDED_ELSEWHERE = ("/webhooks/", "/twilio-webhook-opt", "/rq/", "/media/", "/public/")
"""Routes with proofs of their own; their tests are test_webhooks, test_rq_pages,
test_uploads_api and test_active_chats_token."""

CALLS = sorted(LEAST)
"""Every call of the JSON API: test_every_route_is_accounted_for keeps it whole."""


def calls_of(app: Flask) -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def fill(rule: str, business_id: str = "") -> str:
    """Make a path of a rule; ids are nobody's, but for the business's own where it is given."""
    path = rule.replace("<business_id>", business_id or str(uuid4()))
    return re.sub(r"<phone_number>", "972500000009", re.sub(r"<\w+_id>", str(uuid4()), path))


def test_every_route_is_accounted_for(app: Flask) -> None:
    unknown = {
        (method, rule)
        for method, rule in calls_of(app)
        if (method, rule) not in LEAST
        and rule not in PUBLIC
        and not rule.startswith(GUARDED_ELSEWHERE)
        and not _is_console(app, rule)
    }
    assert unknown == set()
    assert set(LEAST) <= calls_of(app)


def _is_console(app: Flask, rule: str) -> bool:
    endpoints = {one.endpoint for one in app.url_map.iter_rules() if one.rule == rule}
    return all(endpoint.startswith("console.") for endpoint in endpoints)


@pytest.mark.parametrize("headers", [{}, bearer("tsk_unknown"), {"Authorization": "Basic Og=="}])
def test_without_a_known_key_every_call_is_401(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    for method, rule in CALLS:
        answer = client.open(fill(rule), method=method, headers=headers, json={"name": 1})
        assert answer.status_code == 401, (method, rule)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.mimetype == "application/problem+json"


def test_a_key_in_the_address_or_a_cookie_is_no_key(client: FlaskClient, shop: Shop) -> None:
    assert client.get(f"/api/sessions?api_key={shop.keys['manager']}").status_code == 401
    client.post("/sign-in", data={"key": shop.keys["manager"]})
    assert client.get_cookie("__Host-timer") is not None
    assert client.get("/api/sessions").status_code == 401


@pytest.mark.parametrize("role", ["viewer", "agent", "manager"])
def test_a_role_reaches_exactly_what_it_may(shop: Shop, role: str) -> None:
    for method, rule in CALLS:
        answer = shop.request(method, fill(rule, shop.id), {"nonsense": 1}, role=role)
        if RANKS[role] >= RANKS[LEAST[method, rule]]:
            assert answer.status_code in {200, 404, 422}, (method, rule, answer.json)
        else:
            assert answer.status_code == 403, (method, rule, answer.json)


def test_the_admin_reaches_everything_and_names_the_business(
    client: FlaskClient, shop: Shop
) -> None:
    for method, rule in CALLS:
        body = None if method in {"GET", "DELETE"} else {"nonsense": 1}
        answer = client.open(
            f"{fill(rule)}?business_id={shop.id}",
            method=method,
            headers=bearer(ADMIN_KEY),
            json=body,
        )
        assert answer.status_code in {200, 404, 422}, (method, rule, answer.json)


def test_the_admin_is_told_which_parameter_is_missing(client: FlaskClient, shop: Shop) -> None:
    for path in ("/api/sessions", "/api/connections", "/api/contacts", "/sessions/active"):
        answer = client.get(path, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 400
        assert [one["field"] for one in answer.json["errors"]] == ["business_id"]


def test_the_admin_who_names_no_or_an_unknown_business_gets_no_rows(client: FlaskClient) -> None:
    unknown = client.get(f"/api/sessions?business_id={uuid4()}", headers=bearer(ADMIN_KEY))
    broken = client.get("/api/sessions?business_id=x", headers=bearer(ADMIN_KEY))
    assert (unknown.status_code, broken.status_code) == (404, 422)


def test_the_admin_need_not_name_the_business_of_a_session(
    client: FlaskClient, shop: Shop, other_shop: Shop
) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    path = f"/api/sessions/{session_id}"
    assert client.get(path, headers=bearer(ADMIN_KEY)).json["id"] == session_id
    named_wrongly = f"{path}?business_id={other_shop.id}"
    assert client.get(named_wrongly, headers=bearer(ADMIN_KEY)).status_code == 404
    assert client.get(f"/api/sessions/{uuid4()}", headers=bearer(ADMIN_KEY)).status_code == 404


def test_a_key_that_names_another_business_is_403(shop: Shop, other_shop: Shop) -> None:
    for method, rule in CALLS:
        if LEAST[method, rule] != "admin":
            path = f"{fill(rule, shop.id)}?business_id={other_shop.id}"
            assert shop.request(method, path, {"nonsense": 1}).status_code == 403, (method, rule)
    assert shop.get(f"/api/sessions?business_id={shop.id}").status_code == 200


def test_a_revoked_key_is_refused_from_the_next_request_on(shop: Shop) -> None:
    made = shop.post("/api/keys", {"role": "viewer", "name": "till"}).json
    shop.keys["till"] = made["api_key"]
    assert shop.get("/api/sessions", role="till").status_code == 200
    assert shop.delete(f"/api/keys/{made['id']}").status_code == 204
    assert shop.get("/api/sessions", role="till").status_code == 401
    assert shop.delete(f"/api/keys/{made['id']}").status_code == 404


def test_keys_are_listed_without_the_keys(shop: Shop, other_shop: Shop) -> None:
    answer = shop.get("/api/keys?limit=2")
    assert [one["role"] for one in answer.json["items"]] == ["agent", "viewer"]
    assert shop.keys["viewer"] not in answer.text
    rest = shop.get("/api/keys", query_string={"cursor": answer.json["next_cursor"]}).json
    assert [one["role"] for one in rest["items"]] == ["manager"]
    assert rest["next_cursor"] is None


def test_no_key_of_the_admins_role_can_be_made(shop: Shop) -> None:
    assert shop.post("/api/keys", {"role": "admin"}).status_code == 422


def test_viewers_do_not_see_the_token_in_a_webhook_address(shop: Shop) -> None:
    connection = shop.connect("baileys")
    path = f"/api/connections/{connection['id']}"
    token = connection["secrets"]["token"]
    assert shop.get(path).json["webhook_url"].endswith(f"/{token}")
    for one in (path, "/api/connections"):
        answer = shop.get(one, role="agent")
        assert token not in answer.text
        assert connection["id"] in answer.text
