"""Tokens for browsers: what they show, for how long, where, and that they open nothing else."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from flask.testing import FlaskClient

from tests.support.servers import RedisServer
from tests.web.shop import ADMIN_KEY, Shop, bearer
from tests.web.test_api_keys_and_roles import CALLS, fill
from timer_http import public_count
from timer_service import count_tokens
from timer_service.count_tokens import CountTokens
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import BusinessId
from timer_service.media_links import MediaLinks
from timer_service.settings import Settings

COUNT = "/public/active-chats"
PAGE = "https://crm.example"


def token_of(shop: Shop, role: str = "viewer", **asked: object) -> str:
    answer = shop.post("/api/active-chats-tokens", asked, role=role)
    assert answer.status_code == 201, answer.json
    return answer.json["token"]


def number_of(client: FlaskClient, token: str, **headers: str) -> int:
    answer = client.get(COUNT, headers=bearer(token) | headers)
    assert answer.status_code == 200, answer.json
    return answer.json["active_chats_count"]


def assert_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.get(COUNT, headers=headers)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_token_shows_its_own_business_and_no_other(
    client: FlaskClient, shop: Shop, other_shop: Shop
) -> None:
    shop.record(shop.connect(), "hello")
    for role in ("agent", "manager", "viewer"):
        token = token_of(shop, role)
        assert (number_of(client, token), number_of(client, token_of(other_shop, role))) == (1, 0)
    named = client.get(f"{COUNT}?business_id={other_shop.id}", headers=bearer(token))
    assert named.json == {"active_chats_count": 1}
    shop.post("/session/{}/complete".format(shop.sessions[0]["id"]))
    assert number_of(client, token) == 0


def test_the_admin_names_the_business_of_a_token(client: FlaskClient, shop: Shop) -> None:
    shop.record(shop.connect(), "hello")
    path = f"/api/active-chats-tokens?business_id={shop.id}"
    made = client.post(path, json={}, headers=bearer(ADMIN_KEY))
    assert number_of(client, made.json["token"]) == 1


def test_a_token_ends_when_it_says(
    client: FlaskClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 4_102_444_800.9
    monkeypatch.setattr(count_tokens, "epoch_s", lambda: now_s)
    short = shop.post("/api/active-chats-tokens", {"lasts_s": 60}).json
    usual = shop.post("/api/active-chats-tokens", {}).json
    assert (short["expires_at"], usual["expires_at"]) == (
        "2100-01-01T00:01:00.000Z",
        "2100-01-01T01:00:00.000Z",
    )
    monkeypatch.setattr(count_tokens, "epoch_s", lambda: now_s + 59)
    assert number_of(client, short["token"]) == 0
    monkeypatch.setattr(count_tokens, "epoch_s", lambda: now_s + 60)
    assert_refused(client, bearer(short["token"]))
    assert number_of(client, usual["token"]) == 0


def test_a_token_lasts_a_minute_to_a_day(shop: Shop) -> None:
    for lasts_s in (59, 86_401, "soon", None):
        answer = shop.post("/api/active-chats-tokens", {"lasts_s": lasts_s})
        assert [one["field"] for one in answer.json["errors"]] == ["lasts_s"]
    assert token_of(shop, lasts_s=60) != token_of(shop, lasts_s=86_400)


def test_what_we_did_not_make_is_refused(
    client: FlaskClient, shop: Shop, settings: Settings
) -> None:
    token = token_of(shop)
    business_id = BusinessId(UUID(shop.id))
    of_another_key, _ = CountTokens([Fernet.generate_key().decode()]).make(
        business_id, lasts_s=3600
    )
    link = MediaLinks(settings.encryption_key_list(), "").address(business_id).rpartition("/")[2]
    sealed = token.removeprefix(count_tokens.PREFIX)
    changed = f"{token[:40]}{'A' if token[40] != 'A' else 'B'}{token[41:]}"
    for forged in (
        of_another_key, f"tsc_{link}", sealed, token[:-4], changed, "tsc_", "tsc_é",
        shop.keys["manager"], ADMIN_KEY,
    ):  # fmt: skip
        assert_refused(client, bearer(forged))
    assert_refused(client, {})
    assert_refused(client, {"Authorization": f"Basic {token}"})
    assert client.get(f"{COUNT}?token={token}").status_code == 401
    assert number_of(client, token) == 0


def test_a_key_that_was_rotated_out_of_first_place_still_reads_its_tokens(
    shop: Shop, settings: Settings
) -> None:
    newest = Fernet.generate_key().decode()
    rotated = CountTokens([newest, *settings.encryption_key_list()])
    read = rotated.read(token_of(shop))
    assert read is not None
    assert str(read.business_id) == shop.id


def test_the_token_of_an_erased_business_is_refused(client: FlaskClient, shop: Shop) -> None:
    token = token_of(shop)
    assert number_of(client, token) == 0
    erased = client.delete(f"/api/businesses/{shop.id}", headers=bearer(ADMIN_KEY))
    assert erased.status_code == 204
    assert_refused(client, bearer(token))


def test_a_token_is_accepted_by_no_other_call(client: FlaskClient, shop: Shop) -> None:
    headers = bearer(token_of(shop))
    for method, rule in CALLS:
        answer = client.open(fill(rule, shop.id), method=method, headers=headers, json={})
        assert answer.status_code == 401, (method, rule)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert client.get("/rq/", headers=headers).status_code in {302, 303, 401, 403}
    assert client.post(COUNT, headers=headers).status_code == 405


def test_a_token_for_some_origins_is_refused_in_pages_of_others(
    client: FlaskClient, shop: Shop
) -> None:
    token = token_of(shop, origins=["HTTPS://CRM.example:443", "http://127.0.0.1:8000"])
    assert number_of(client, token, Origin=PAGE) == 0
    assert number_of(client, token, Origin="http://127.0.0.1:8000") == 0
    assert number_of(client, token) == 0
    for other in ("https://crm.example.evil.example", "http://crm.example", "null"):
        answer = client.get(COUNT, headers={**bearer(token), "Origin": other})
        assert answer.status_code == 403, other
        assert answer.mimetype == "application/problem+json"
    assert number_of(client, token_of(shop), Origin="https://any.example") == 0


def test_what_is_no_origin_is_refused_where_it_stands(shop: Shop) -> None:
    for origin in ("crm.example", f"{PAGE}/", "ftp://crm.example", "*", "null", "https://"):
        answer = shop.post("/api/active-chats-tokens", {"origins": [PAGE, origin]})
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json["errors"]] == ["origins.1"]


def test_pages_of_any_origin_may_ask_and_nobody_keeps_the_answer(
    client: FlaskClient, shop: Shop
) -> None:
    asked = client.options(
        COUNT,
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, OPTIONS"
    assert asked.headers["Access-Control-Allow-Headers"] == "Authorization"
    told = client.get(COUNT, headers={**bearer(token_of(shop)), "Origin": PAGE})
    assert told.headers["Cache-Control"] == "no-store"
    for answer in (asked, told):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for path in ("/api/sessions", "/api/active-chats-tokens", "/healthz"):
        answer = client.options(path, headers={"Origin": PAGE})
        assert "Access-Control-Allow-Origin" not in answer.headers, path


def test_the_script_is_for_every_page_and_kept_for_an_hour(client: FlaskClient) -> None:
    with client.get("/active-chats.js") as answer:
        assert answer.status_code == 200
        assert answer.mimetype == "text/javascript"
        assert "active-chats" in answer.text
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["Cache-Control"] == f"public, max-age={public_count.SCRIPT_KEPT_S}"
    known = {"If-None-Match": answer.headers["ETag"]}
    with client.get("/active-chats.js", headers=known) as again:
        assert again.status_code == 304


def test_the_number_is_told_while_one_of_the_two_servers_is_away_and_null_without_both(
    fragile_client: FlaskClient, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.make(fragile_client, "Carmel Shoes")
    shop.record(shop.connect(), "hello")
    token = token_of(shop)

    def away(_: Database) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "transaction", away)
        assert number_of(fragile_client, token) == 1
    own_redis_server.kill()
    assert number_of(fragile_client, token) == 1
    monkeypatch.setattr(Database, "transaction", away)
    answer = fragile_client.get(COUNT, headers=bearer(token))
    assert answer.status_code == 503
    assert answer.json["active_chats_count"] is None
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
