"""The way into the console and out of it."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.reader import Reader, page_of, page_of_session, words_of
from tests.web.shop import ADMIN_KEY, Shop


@pytest.mark.parametrize("path", ["/", "/console/businesses"])
def test_a_stranger_is_led_to_the_sign_in_page(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in")
    assert client.get("/sign-in").status_code == 200


def test_after_signing_in_the_page_asked_for_opens(app: Flask, shop: Shop) -> None:
    asked_for = f"{page_of(shop)}?state=closed"
    stranger = Reader(app)
    way_in = stranger.open(asked_for).headers["Location"]
    answer = stranger.press(way_in, data={"key": shop.keys["viewer"]})
    assert answer.headers["Location"] == asked_for


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/console/",
        "/\\evil.example",
        "/console/\\..\\..\\\\evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "\thttps://evil.example",
        "console/",
        "",
    ],
)
def test_signing_in_never_leads_to_another_site(app: Flask, shop: Shop, elsewhere: str) -> None:
    answer = Reader(app).client.post(
        "/sign-in", query_string={"next": elsewhere}, data={"key": shop.keys["viewer"]}
    )
    assert answer.headers["Location"] == page_of(shop)


@pytest.mark.parametrize("typed", ["tsk_wrong-key-that-was-pasted", "x" * 5000, "", "מפתח"])
def test_a_wrong_key_is_refused_beside_its_field_and_not_shown_again(
    client: FlaskClient, typed: str
) -> None:
    answer = client.post("/sign-in", data={"key": typed})
    assert answer.status_code == 401
    assert 'aria-invalid="true"' in answer.text
    assert 'aria-describedby="key-help key-problem"' in answer.text
    assert "value=" not in answer.text
    assert not typed or typed not in answer.text
    assert client.get("/").headers["Location"] == "/sign-in"


def test_a_key_of_a_business_leads_straight_to_that_business(app: Flask, shop: Shop) -> None:
    reader = Reader.signed_in(app, shop.keys["viewer"])
    assert reader.open("/").headers["Location"] == page_of(shop)
    assert reader.open("/sign-in").headers["Location"] == page_of(shop)
    assert reader.open("/console/businesses").status_code == 403


def test_the_admin_picks_a_business_from_a_list(app: Flask, shop: Shop, other_shop: Shop) -> None:
    admin = Reader.signed_in(app, ADMIN_KEY)
    assert admin.open("/").headers["Location"] == "/console/businesses"
    listed = admin.read("/console/businesses")
    for one, name in ((shop, "Carmel Shoes"), (other_shop, "Toko Parang")):
        assert f'href="{page_of(one)}"' in listed
        assert name in words_of(listed)
        assert name in words_of(admin.read(page_of(one)))


def test_signing_out_forgets_the_reader(app: Flask, shop: Shop) -> None:
    reader = Reader.signed_in(app, shop.keys["manager"])
    assert reader.press("/sign-out").headers["Location"] == "/sign-in"
    assert reader.open(page_of(shop)).status_code == 303


def test_a_revoked_key_opens_nothing_from_then_on(app: Flask, shop: Shop) -> None:
    made = shop.post("/api/keys", {"role": "viewer"}).json
    reader = Reader.signed_in(app, made["api_key"])
    reader.read(page_of(shop))
    assert shop.delete(f"/api/keys/{made['id']}").status_code == 204
    assert reader.open(page_of(shop)).status_code == 303


def test_a_part_that_is_fetched_again_without_a_key_leads_the_whole_page_to_sign_in(
    app: Flask, shop: Shop
) -> None:
    answer = Reader(app).open(f"{page_of(shop)}/active-chats", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in"


def test_the_cookie_stays_with_this_host_over_https_and_away_from_scripts(
    app: Flask, shop: Shop
) -> None:
    answer = Reader(app).press("/sign-in", data={"key": shop.keys["viewer"]})
    cookie = answer.headers["Set-Cookie"]
    name, *flags = [part.strip() for part in cookie.split(";")]
    assert name.startswith("__Host-timer=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags)
    assert shop.keys["viewer"] not in cookie


def test_nothing_can_be_posted_from_another_site(app: Flask, shop: Shop) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    reader = Reader.signed_in(app, shop.keys["manager"])
    forms = {"business_id": shop.id, "session_id": session_id}
    posts = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("console.") and "POST" in rule.methods
    ]
    assert len(posts) >= 4
    for rule in posts:
        path = rule.rule.replace("uuid:", "")
        for name, value in forms.items():
            path = path.replace(f"<{name}>", value)
        answer = reader.press(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403, path
        assert "another site" in answer.text
    assert reader.open(page_of_session(shop, session_id)).status_code == 200
    assert shop.active_count == 1
