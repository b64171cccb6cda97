"""The way into the console and out of it."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import running
from tests.web.reader import Reader, page_of, page_of_session, words_of
from tests.web.shop import ADMIN_KEY, Shop
from timer_http.context import attach_services
from timer_service.ids import BusinessId
from timer_service.messages import MemberRole
from timer_service.settings import Settings
from timer_service.wiring import WebServices


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
    forms = {"business_id": shop.id, "session_id": session_id, "token": "token"}
    posts = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("console.") and "POST" in rule.methods
    ]
    assert len(posts) >= 4
    for rule in posts:
        path = rule.rule.replace("uuid:", "")
        for name in rule.arguments:
            path = path.replace(f"<{name}>", forms.get(name, str(uuid4())))
        answer = reader.press(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403, path
        assert "another site" in answer.text
    assert reader.open(page_of_session(shop, session_id)).status_code == 200
    assert shop.active_count == 1


PASSWORD = "a shoe for every foot"


@pytest.fixture
def rina(quick_passwords: None, services: WebServices, app: Flask, shop: Shop) -> Reader:
    """Somebody who has joined the shop as its admin, in the browser she did it with."""
    link = services.members.invite(BusinessId(UUID(shop.id)), RINA, MemberRole.ADMIN)
    reader = Reader(app)
    path = link.removeprefix("https://timer.example")
    assert reader.press(path, data={"name": "Rina", "password": PASSWORD}).status_code == 303
    return reader


RINA = "rina@shop.example"


def test_only_a_key_is_asked_for_until_somebody_has_an_account(
    app: Flask, client: FlaskClient, shop: Shop, request: pytest.FixtureRequest
) -> None:
    assert 'id="email"' not in client.get("/sign-in").text
    request.getfixturevalue("rina")
    source = Reader(app).read("/sign-in")
    assert 'id="email"' in source
    assert 'id="key"' in source
    assert '<details class="other-way">' in source
    wrong = client.post("/sign-in", data={"key": "tsk_wrong"}).text
    assert '<details class="other-way" open>' in wrong


def test_an_unknown_address_and_a_wrong_password_are_answered_alike(
    app: Flask, rina: Reader
) -> None:
    answers = [
        Reader(app).press("/sign-in", data={"email": email, "password": "wrong <b>"})
        for email in (RINA, "eve@shop.example")
    ]
    assert [one.status_code for one in answers] == [401, 401]
    texts = [one.text.replace(RINA, "eve@shop.example") for one in answers]
    stamp = re.compile(r'server-time-ms" content="\d+"')
    assert len({stamp.sub("", text) for text in texts}) == 1
    assert "This e-mail address and this password do not fit together." in words_of(texts[0])
    assert 'value="eve@shop.example"' in texts[0]
    assert "wrong" not in words_of(texts[0])


def test_whoever_guesses_is_told_to_wait(app: Flask, rina: Reader) -> None:
    typed = {"email": RINA, "password": "wrong"}
    answers = [Reader(app).press("/sign-in", data=typed) for _ in range(11)]
    assert [one.status_code for one in answers] == [401] * 10 + [429]
    assert "Too many tries." in words_of(answers[-1].text)
    assert Reader(app).press("/sign-in", data=typed | {"password": PASSWORD}).status_code == 429
    assert rina.open("/account").status_code == 200


def test_addresses_are_those_that_our_own_proxies_tell(
    monkeypatch: pytest.MonkeyPatch, app: Flask, rina: Reader, settings: Settings
) -> None:
    monkeypatch.setattr("timer_service.people.TRIES_FROM_AN_ADDRESS", 1)

    def tried_from(told: str) -> int:
        typed = {"email": f"{uuid4()}@shop.example", "password": "wrong"}
        reader = Reader(app)
        answer = reader.press("/sign-in", data=typed, headers={"X-Forwarded-For": told})
        return answer.status_code

    assert tried_from("192.0.2.1") == 401
    assert tried_from("192.0.2.2") == 429  # nobody's word is believed
    with running(settings.model_copy(update={"trusted_proxies": 1})) as services:
        attach_services(app, services)
        assert tried_from("192.0.2.1, 192.0.2.3") == 401
        assert tried_from("192.0.2.2, 192.0.2.3") == 429
        assert tried_from("192.0.2.3, 192.0.2.4") == 401


def test_a_token_is_another_with_each_sign_in_and_worth_nothing_after_signing_out(
    app: Flask, shop: Shop, rina: Reader
) -> None:
    before = rina.client.get_cookie("__Host-timer")
    again = {"email": RINA, "password": PASSWORD}
    assert rina.press("/sign-in", data=again).status_code == 303
    after = rina.client.get_cookie("__Host-timer")
    assert before is not None
    assert after is not None
    thief = Reader(app)
    thief.client.set_cookie("__Host-timer", before.value, secure=True, path="/")
    assert thief.open(page_of(shop)).status_code == 303
    thief.client.set_cookie("__Host-timer", after.value, secure=True, path="/")
    assert thief.open(page_of(shop)).status_code == 200
    assert rina.press("/sign-out").status_code == 303
    assert thief.open(page_of(shop)).status_code == 303


def test_an_account_shows_its_own_and_changes_its_password(
    app: Flask, shop: Shop, rina: Reader
) -> None:
    other = Reader(app)
    assert other.press("/sign-in", data={"email": RINA, "password": PASSWORD}).status_code == 303
    assert RINA in rina.read("/account")
    new = {"password": "another good sentence"}
    wrong = rina.press("/account/password", data={"old": "wrong", **new})
    assert wrong.status_code == 422
    assert "This is not your present password." in words_of(wrong.text)
    weak = rina.press("/account/password", data={"old": PASSWORD, "password": "short"})
    assert "Too short" in words_of(weak.text)
    assert rina.press("/account/password", data={"old": PASSWORD, **new}).status_code == 303
    assert "Your password is changed." in words_of(rina.read("/account"))
    assert other.open(page_of(shop)).status_code == 303
    assert rina.open(page_of(shop)).status_code == 200


def test_signing_out_everywhere_else_leaves_this_browser_in(
    app: Flask, shop: Shop, rina: Reader
) -> None:
    other = Reader(app)
    other.press("/sign-in", data={"email": RINA, "password": PASSWORD})
    assert rina.press("/account/sign-out-elsewhere").status_code == 303
    assert "signed out: 1" in words_of(rina.read("/account"))
    assert other.open(page_of(shop)).status_code == 303


def test_a_key_has_no_account(app: Flask, shop: Shop) -> None:
    reader = Reader.signed_in(app, shop.keys["manager"])
    assert reader.open("/account").status_code == 404
    assert reader.open("/console/own-businesses").status_code == 404
    assert reader.press("/account/password", data={}).status_code == 404


def test_a_reset_link_lets_its_person_choose_a_password_once(
    app: Flask, shop: Shop, rina: Reader, services: WebServices
) -> None:
    path = f"/password/{services.people.make_reset(RINA)}"
    assert RINA in Reader(app).read(path)
    weak = Reader(app).press(path, data={"password": "short"})
    assert weak.status_code == 422
    reader = Reader(app)
    assert reader.press(path, data={"password": "another good sentence"}).status_code == 303
    assert reader.open("/").headers["Location"] == page_of(shop)
    assert rina.open(page_of(shop)).status_code == 303
    assert Reader(app).open(path).status_code == 404
