"""Linking a phone, checking credentials and choosing the default, as a manager sees them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from tests.support.fake_control_gateway import FakeControlGateway
from tests.support.fake_model import Reply
from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import Shop
from tests.web.test_connection_control import DEVICES, KEY, connect, status_of
from timer_http.console import linking_pages
from timer_http.console.words import status_reason
from timer_service.clock import utc_now
from timer_service.messages import StatusReason
from timer_service.qr_drawing import draw_svg
from timer_service.status_reasons import explain
from timer_service.wiring import WebServices

LIVE = {"HX-Request": "true"}
SECRETS = {"api_key": KEY, "hmac_key": "very-secret-hmac"}


@pytest.fixture
def gateway() -> Iterator[FakeControlGateway]:
    with FakeControlGateway() as gateway:
        yield gateway


@pytest.fixture
def manager(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["manager"])


def address_of(shop: Shop, connection: dict[str, Any], end: str) -> str:
    return f"{page_of(shop)}/settings/connections/{connection['id']}/{end}"


def shown_in(source: str) -> str:
    (shown,) = re.findall(r'name="shown" value="([^"]*)"', source)
    return html.unescape(shown)


def state_of(source: str) -> str:
    (state,) = re.findall(r'<p id="link-state"[^>]*role="status"[^>]*>(.*?)</p>', source, re.DOTALL)
    return words_of(state)


@pytest.mark.parametrize("provider", DEVICES)
def test_a_phone_is_linked_by_the_code_that_the_page_shows(
    shop: Shop, manager: Reader, gateway: FakeControlGateway, provider: str
) -> None:
    connection = connect(shop, gateway, provider)
    path = address_of(shop, connection, "link")
    assert path in manager.read(f"{page_of(shop)}/settings")
    pressed = manager.press(path, data={"do": "create"})
    assert (pressed.status_code, pressed.headers["Location"]) == (303, path)
    device = gateway.api.devices[f"{provider} desk"]

    page = manager.open(path)
    assert page.headers["Cache-Control"] == "no-store"
    assert "img-src 'self'" in page.headers["Content-Security-Policy"]
    assert "style=" not in page.text  # the policy allows none
    assert draw_svg(device.code) in page.text
    assert device.code not in html.unescape(page.text)
    assert state_of(page.text) == "Waiting for QR"
    assert "Expires" in words_of(page.text)
    assert f'hx-get="{path}"' in page.text
    assert f'href="{path}">Load it again' in page.text

    gateway.api.renew(f"{provider} desk")
    part = manager.open(path, headers=LIVE, query_string={"shown": shown_in(page.text)})
    assert part.status_code == 200
    assert "<html" not in part.text
    assert draw_svg(device.code) in part.text
    assert shown_in(part.text) != shown_in(page.text)

    gateway.api.scan(f"{provider} desk")
    part = manager.open(path, headers=LIVE, query_string={"shown": shown_in(part.text)})
    assert part.status_code == 286  # htmx asks no more
    assert state_of(part.text).startswith("Connected")
    assert "<svg" not in part.text
    assert "The phone is linked." in words_of(part.text)
    page_then = manager.read(path)
    assert "hx-get" not in page_then
    assert "The phone is linked." in words_of(page_then)
    assert "renews itself" not in words_of(page_then)


def test_a_code_that_stays_is_the_same_part_to_the_letter_until_it_expires(
    shop: Shop, manager: Reader, gateway: FakeControlGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(shop, gateway, "waha")
    gateway.api.add("waha desk", "waiting")
    path = address_of(shop, connection, "link")
    shown = shown_in(manager.read(path))
    first = manager.read(path, headers=LIVE, query_string={"shown": shown})
    assert manager.read(path, headers=LIVE, query_string={"shown": shown}) == first
    assert shown_in(first) == shown
    later = utc_now() + timedelta(seconds=21)
    monkeypatch.setattr(linking_pages, "utc_now", lambda: later)
    monkeypatch.setattr("timer_service.connection_control.utc_now", lambda: later)
    assert shown_in(manager.read(path, headers=LIVE, query_string={"shown": shown})) != shown
    for told in ("", "-", "x-y", f"{shown[:17]}{'9' * 40}", f"{shown[:17]}0", f"{shown[:17]}²"):
        assert "<svg" in manager.read(path, headers=LIVE, query_string={"shown": told})


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("he", ("קישור טלפון", "ממתין לסריקת QR", "תוקף", "ניתוק הטלפון", "הגדרת ה־webhook")),
        ("en", ("Link a phone", "Waiting for QR", "Expires", "Log out", "Set up the webhook")),
        ("id", ("Tautkan ponsel", "Menunggu QR", "Masa berlaku", "Keluar", "Atur webhook")),
    ],
)
def test_the_page_speaks_the_readers_language(
    shop: Shop, manager: Reader, gateway: FakeControlGateway, language: str, words: tuple[str, ...]
) -> None:
    connection = connect(shop, gateway, "waha")
    gateway.api.add("waha desk", "waiting")
    page = words_of(manager.read(address_of(shop, connection, f"link?lang={language}")))
    for word in words:
        assert word in page


def test_every_reason_is_told_in_the_readers_language(
    app: Flask, shop: Shop, manager: Reader, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "waha", key="wrong")
    manager.press(address_of(shop, connection, "link"), data={"do": "start"})
    english = "The key is not accepted: check the connection's secrets."
    settings = f"{page_of(shop)}/settings"
    assert english in words_of(manager.read(settings))
    for page in (settings, page_of(shop), address_of(shop, connection, "check")):
        text = words_of(manager.read(f"{page}?lang=he"))
        assert "המפתח לא התקבל: בדקו את הסודות של החיבור." in text
        assert english not in text
    with app.test_request_context(headers={"Accept-Language": "he"}):
        for reason in StatusReason:
            assert status_reason(reason.value) not in {"", explain(reason.value)}
        assert status_reason(None) == status_reason("of a newer program") == ""


def test_what_a_gateway_does_not_do_is_a_sentence_on_the_page(
    shop: Shop, manager: Reader, gateway: FakeControlGateway, services: WebServices
) -> None:
    connection = connect(shop, gateway, "waha")
    path = address_of(shop, connection, "link")
    away = Reply(500, b"{}")
    for do in ("create", "start", "restart", "log_out", "set_up_webhook"):
        gateway.will(away)
        answer = manager.press(path, data={"do": do})
        assert answer.status_code == 422
        assert "The gateway met a fault of its own" in words_of(answer.text)
        assert 'role="alert"' in answer.text
        assert "hx-get" in answer.text  # it looks again by itself
    gateway.will(away)
    assert "The gateway met a fault of its own" in words_of(manager.read(path))
    gateway.will(away)
    assert "The gateway met a fault" in words_of(manager.read(path, headers=LIVE))
    gateway.will(away)
    assert "fault of its own" in words_of(manager.read(address_of(shop, connection, "check")))
    business = services.control.business_of(UUID(connection["id"]))
    room = services.control._talks.room
    with room.place(business), room.place(business):
        assert "Too many gateways are being asked" in words_of(manager.read(path))
        assert "Too many gateways" in words_of(manager.press(path, data={"do": "start"}).text)
    assert manager.press(path, data={"do": "explode"}).status_code == 422


def test_a_gateway_that_is_away_or_has_no_address_is_told_too(shop: Shop, manager: Reader) -> None:
    away = shop.connect("waha", base_url="http://127.0.0.1:9", secrets=SECRETS)
    path = address_of(shop, away, "link")
    assert "The gateway cannot be reached at its address" in words_of(manager.read(path))
    homeless = shop.connect("baileys")
    assert "see its address and secrets" in words_of(
        manager.read(address_of(shop, homeless, "link"))
    )
    settings = manager.read(f"{page_of(shop)}/settings")
    assert path in settings
    assert address_of(shop, homeless, "link") not in settings


def test_the_buttons_do_what_they_say_and_stand_in_the_journal(
    shop: Shop, manager: Reader, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "waha", secrets=SECRETS)
    path = address_of(shop, connection, "link")
    gateway.api.add("waha desk", "working")
    assert manager.press(path, data={"do": "set_up_webhook"}).status_code == 303
    assert "The gateway sends its events here now." in words_of(manager.read(path))
    assert gateway.api.devices["waha desk"].config["webhooks"]
    check = address_of(shop, connection, "check")
    assert "Everything is in order." in words_of(manager.read(check))
    assert manager.press(path, data={"do": "log_out"}).status_code == 303
    page = words_of(manager.read(path))
    assert "The phone is unlinked." in page
    assert status_of(shop, connection) == ("waiting_qr", "qr_to_scan")
    journal = words_of(manager.read(f"{page_of(shop)}/developers"))
    assert journal.count("Connection changed") == 2


def test_credentials_are_checked_and_what_is_wrong_is_listed(
    shop: Shop, manager: Reader, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "meta")
    check = address_of(shop, connection, "check")
    settings = manager.read(f"{page_of(shop)}/settings")
    assert check in settings
    assert "Check the credentials" in words_of(settings)
    assert "Everything is in order." in words_of(manager.read(check))
    gateway.api.meta_apps = []
    assert "No app is subscribed" in words_of(manager.read(check))
    gateway.api.key = "another"
    page = manager.read(f"{check}?lang=he")
    assert "את זה צריך לתקן:" in words_of(page)
    assert "אסימון הגישה אינו תקף: צרו חדש." in words_of(page)
    assert manager.open(address_of(shop, connection, "link")).status_code == 404
    assert manager.press(address_of(shop, connection, "link")).status_code == 404


def test_the_default_is_marked_and_chosen(shop: Shop, manager: Reader) -> None:
    shop.connect("waha", name="first")
    settings = f"{page_of(shop)}/settings"
    assert words_of(manager.read(settings)).count("Used for new messages") == 1  # the only one
    second = shop.connect("waha", name="second")
    page = words_of(manager.read(settings))
    assert "Used for new messages" not in page
    assert page.count("Use for new messages") == 2
    assert manager.press(address_of(shop, second, "default")).status_code == 303
    business = shop.get(f"/api/businesses/{shop.id}").json
    assert business["default_connection_id"] == second["id"]
    page = words_of(manager.read(settings))
    assert page.count("Used for new messages") == 1
    assert "Use for new messages: first" in page
    assert "Settings changed" in words_of(manager.read(f"{page_of(shop)}/developers"))


def test_only_managers_of_the_business_ask_its_gateways(
    app: Flask,
    shop: Shop,
    other_shop: Shop,
    manager: Reader,
    gateway: FakeControlGateway,
) -> None:
    mine = connect(shop, gateway, "waha")
    theirs = connect(other_shop, gateway, "waha")
    ends = ("link", "check", "default")
    for role in ("viewer", "agent"):
        reader = Reader.signed_in(app, shop.keys[role])
        for end in ends[:2]:
            assert reader.open(address_of(shop, mine, end)).status_code == 403
        for end in ("link", "default"):
            path = address_of(shop, mine, end)
            assert reader.press(path, data={"do": "start"}).status_code == 403
    for owner in (shop, other_shop):
        for end in ends[:2]:
            assert manager.open(address_of(owner, theirs, end)).status_code == 404
        for end in ("link", "default"):
            path = address_of(owner, theirs, end)
            assert manager.press(path, data={"do": "start"}).status_code == 404
    cross = {"Sec-Fetch-Site": "cross-site"}
    path = address_of(shop, mine, "link")
    assert manager.press(path, data={"do": "log_out"}, headers=cross).status_code == 403
    assert gateway.asked == []
