"""The business page: the live line, the linked numbers, the lists of conversations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.web.reader import Reader, live_line_of, page_of, page_of_session, words_of
from tests.web.shop import ADMIN_KEY, Shop, bearer, close_late
from timer_http.context import attach_services
from timer_service.ids import ConnectionId
from timer_service.messages import ConnectionState, ConnectionUpdate
from timer_service.settings import Settings
from timer_service.wiring import WebServices, build_web

STATUS_IN_HEBREW = "סטטוס בוט WhatsApp"  # noqa: RUF001 - these letters are meant
NOBODY_LISTENS = "127.0.0.1:1"


@pytest.fixture
def reader(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["viewer"])


@pytest.fixture
def without_redis(settings: Settings) -> Iterator[WebServices]:
    yield from _services(settings, redis_url=f"redis://{NOBODY_LISTENS}/0")


@pytest.fixture
def without_stores(settings: Settings) -> Iterator[WebServices]:
    yield from _services(
        settings,
        redis_url=f"redis://{NOBODY_LISTENS}/0",
        database_url=f"postgresql://nobody@{NOBODY_LISTENS}/none",
    )


def _services(settings: Settings, **away: str) -> Iterator[WebServices]:
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    services = build_web(Settings(**{**values, **away}))
    yield services
    services.database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


@pytest.mark.parametrize(
    ("locale", "language", "direction", "live_line", "status", "conversations", "empty"),
    [
        ("en", "en", "ltr", "Active chats: 1", "WhatsApp bot status", "Conversations", "ended"),
        ("he-IL", "he-IL", "rtl", "שיחות פעילות: 1", STATUS_IN_HEBREW, "שיחות", "שהסתיימו"),
        ("id", "id", "ltr", "Obrolan aktif: 1", "Status bot WhatsApp", "Percakapan", "selesai"),
    ],
)
def test_the_page_speaks_the_language_of_the_business(
    *,
    app: Flask,
    locale: str,
    language: str,
    direction: str,
    live_line: str,
    status: str,
    conversations: str,
    empty: str,
) -> None:
    shop = Shop.make(app.test_client(), "Shop", locale=locale)
    shop.record(shop.connect(), "hello")
    source = Reader.signed_in(app, shop.keys["viewer"]).read(page_of(shop))
    assert f'<html lang="{language}" dir="{direction}">' in source
    assert live_line_of(source) == live_line
    for expected in (status, conversations, empty):
        assert expected in words_of(source)


def test_a_chosen_language_is_kept_even_after_signing_out(app: Flask, shop: Shop) -> None:
    reader = Reader.signed_in(app, shop.keys["viewer"])
    assert "שיחות פעילות: 0" in words_of(reader.read(f"{page_of(shop)}?lang=he"))
    assert "שיחות פעילות: 0" in words_of(reader.read(page_of(shop)))
    reader.press("/sign-out")
    assert '<html lang="he" dir="rtl">' in reader.read("/sign-in")


def test_the_sign_in_page_speaks_what_the_browser_asks_for(app: Flask) -> None:
    source = Reader(app).read("/sign-in", headers={"Accept-Language": "fr, id;q=0.8, he;q=0.5"})
    assert '<html lang="id" dir="ltr">' in source
    assert '<html lang="en" dir="ltr">' in Reader(app).read(
        "/sign-in?lang=tlh", headers={"Accept-Language": "fr"}
    )


def test_the_number_follows_what_happens(app: Flask, shop: Shop, reader: Reader) -> None:
    fragment = f"{page_of(shop)}/active-chats"
    assert live_line_of(reader.read(fragment)) == "Active chats: 0"
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    assert live_line_of(reader.read(fragment)) == "Active chats: 1"
    assert "<span data-active-chats>1</span>" in reader.read(page_of(shop))
    shop.post(f"/api/sessions/{session_id}/complete")
    assert live_line_of(reader.read(fragment)) == "Active chats: 0"


def test_the_page_says_how_punctual_the_latest_closes_were(
    shop: Shop, reader: Reader, database_url: str
) -> None:
    assert "Latest closes" not in reader.read(page_of(shop))
    close_late(shop, database_url, late_ms=[3, 1, 40, 2])
    expected = (
        "Latest closes: half within 2 ms of the deadline, 99 of 100 within 40 ms, "
        "all within 40 ms; early: 0."
    )
    assert expected in words_of(reader.read(page_of(shop)))
    assert expected in words_of(reader.read(f"{page_of(shop)}/punctuality"))


def test_without_redis_the_number_is_still_right(
    app: Flask, shop: Shop, reader: Reader, without_redis: WebServices
) -> None:
    shop.record(shop.connect(), "hello")
    attach_services(app, without_redis)
    assert live_line_of(reader.read(f"{page_of(shop)}/active-chats")) == "Active chats: 1"
    assert live_line_of(reader.read(page_of(shop))) == "Active chats: 1"


@pytest.mark.parametrize("key", ["viewer", "admin"])
def test_without_both_stores_the_number_is_a_dash_with_a_reason_and_no_error(
    app: Flask, shop: Shop, without_stores: WebServices, key: str
) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"locale": "he"})
    reader = Reader.signed_in(app, {**shop.keys, "admin": ADMIN_KEY}[key])
    reader.read(page_of(shop))
    attach_services(app, without_stores)
    fragment = reader.read(f"{page_of(shop)}/active-chats")
    assert live_line_of(fragment) == "שיחות פעילות: —"
    assert "לא ניתן לקרוא את המספר כרגע" in words_of(fragment)
    page = reader.open(page_of(shop))
    assert live_line_of(page.text) == "שיחות פעילות: —"
    assert '<meta http-equiv="refresh" content="5">' in page.text
    assert page.status_code == 503


def test_the_page_holds_the_dash_that_stands_in_when_the_server_is_away(
    shop: Shop, reader: Reader
) -> None:
    source = reader.read(page_of(shop))
    spare = re.search(
        r'<template data-when-away="active-chats">(.*?)</template>', source, re.DOTALL
    )
    assert spare is not None
    assert live_line_of(spare[1]) == "Active chats: —"


def test_another_business_looks_like_one_that_does_not_exist(
    app: Flask, shop: Shop, other_shop: Shop
) -> None:
    theirs = other_shop.record(other_shop.connect(), "ours alone")[0]["session_id"]
    reader = Reader.signed_in(app, shop.keys["manager"])
    missing = f"/console/businesses/{uuid4()}"
    for end in ("", "/active-chats", "/connections", "/conversations", f"/sessions/{theirs}"):
        answers = [reader.open(base + end) for base in (page_of(other_shop), missing)]
        assert [one.status_code for one in answers] == [404, 404], end
        assert words_of(answers[0].text) == words_of(answers[1].text)
    assert reader.open(page_of_session(shop, theirs)).status_code == 404
    for action in ("close", "summarize"):
        assert reader.press(f"{page_of_session(other_shop, theirs)}/{action}").status_code == 404
        assert reader.press(f"{page_of_session(shop, theirs)}/{action}").status_code == 404
    assert other_shop.active_count == 1


def test_a_linked_number_shows_its_state_in_words_and_its_number_left_to_right(
    services: WebServices, shop: Shop, reader: Reader
) -> None:
    quiet = shop.connect("waha", name="Back office")
    busy = shop.connect("meta")
    shop.record(busy, "hello")
    for connection, state, number in (
        (busy, ConnectionState.CONNECTED, "972500000009"),
        (quiet, ConnectionState.WAITING_QR, None),
    ):
        update = ConnectionUpdate(state=state, own_number=number)
        services.intake.record(ConnectionId(UUID(connection["id"])), [update])
    source = reader.read(f"{page_of(shop)}/connections")
    words = words_of(source)
    assert "WhatsApp Cloud API Connected" in words
    assert "Last message: just now" in words
    assert '<bdi dir="ltr" class="number">+972 50-000-0009</bdi>' in source
    assert "WAHA · Back office Waiting for QR No messages yet" in words
    assert "<time datetime=" in source
    assert 'title="' in source


def test_a_time_is_relative_with_the_exact_one_for_hover_and_for_screen_readers(
    services: WebServices, shop: Shop, reader: Reader
) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"timezone": "Asia/Jakarta", "locale": "en-GB"})
    shop.record(shop.connect(), "hello", sent_at="2026-03-09T07:05:06Z")
    source = reader.read(page_of(shop))
    assert 'title="9 Mar 2026, 14:05:06"' in source
    assert '<span class="for-readers"> (' in source
    assert "Times are those of Asia/Jakarta" in words_of(source)


def test_lists_show_what_goes_on_and_what_has_ended_each_row_one_link(
    shop: Shop, reader: Reader
) -> None:
    connection = shop.connect()
    ended = shop.record(connection, "bye", customer_name="Dana Levi")[0]["session_id"]
    shop.post(f"/api/sessions/{ended}/complete")
    going = shop.record(connection, "hi", customer_wa_id="972500000002")[0]["session_id"]
    both = reader.read(page_of(shop))
    for session_id in (ended, going):
        assert f'id="row-{session_id}" href="{page_of_session(shop, session_id)}"' in both
    assert "Dana Levi" in words_of(both)
    assert "+972 50-000-0002" in words_of(both)
    assert "Closed by an agent" in words_of(both)
    active = reader.read(f"{page_of(shop)}/conversations?state=active")
    assert f"row-{going}" in active
    assert f"row-{ended}" not in active
    assert 'data-gap-ms="900000"' in active
    closed = reader.read(f"{page_of(shop)}/conversations?state=closed")
    assert f"row-{ended}" in closed
    assert f"row-{going}" not in closed


def test_the_page_of_conversations_stands_in_the_frame_and_its_lists_come_alone_for_htmx(
    shop: Shop, reader: Reader
) -> None:
    address = f"{page_of(shop)}/conversations"
    assert "<h1>Conversations</h1>" in reader.read(address)
    alone = reader.read(address, headers={"HX-Request": "true"})
    assert "<html" not in alone
    assert "Conversations that are going on appear here." in alone


def test_an_address_of_a_list_from_before_it_had_its_own_page_still_leads_there(
    shop: Shop, reader: Reader
) -> None:
    answer = reader.open(f"{page_of(shop)}?state=closed&before=abc&business_id=x")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{page_of(shop)}/conversations?state=closed&before=abc"


def test_the_navigation_marks_the_page_that_is_shown(shop: Shop, reader: Reader) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    for path, place in (
        (page_of(shop), "Overview"),
        (f"{page_of(shop)}/conversations", "Conversations"),
        (page_of_session(shop, session_id), "Conversations"),
    ):
        here = re.findall(
            r'<a href="[^"]*" aria-current="page">([^<]*)</a></li>', reader.read(path)
        )
        assert here == [place], path


def test_a_long_list_goes_on_over_pages_without_gaps(
    monkeypatch: pytest.MonkeyPatch, shop: Shop, reader: Reader
) -> None:
    monkeypatch.setattr("timer_http.console.conversation_pages.PAGE_LENGTH", 2)
    connection = shop.connect()
    made = {
        shop.record(connection, "hi", customer_wa_id=f"97250000010{number}")[0]["session_id"]
        for number in range(5)
    }
    shop.record(connection, "again", customer_wa_id="972500000103")
    address: str | None = f"{page_of(shop)}/conversations?state=active"
    pages = []
    while address is not None:
        source = reader.read(address, follow_redirects=True)
        pages.append(re.findall(r'id="row-([^"]+)"', source))
        assert ("every 4s" in source) is (len(pages) == 1)
        older = re.search(r'href="([^"]+)" rel="next"', source)
        address = older[1].replace("&amp;", "&") if older else None
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {one for page in pages for one in page} == made


@pytest.mark.parametrize("query", ["state=open", "state=active&before=nonsense", "before=x"])
def test_an_address_that_asks_for_nonsense_is_refused_in_words(
    shop: Shop, reader: Reader, query: str
) -> None:
    answer = reader.open(f"{page_of(shop)}/conversations?{query}")
    assert answer.status_code == 422
    assert "This address cannot be read" in words_of(answer.text)


def test_empty_lists_say_what_will_appear_and_how(shop: Shop, reader: Reader) -> None:
    words = words_of(reader.read(page_of(shop)))
    assert "No WhatsApp number is connected yet." in words
    assert "timer-service connection add" in words
    assert "A customer's next message to a connected number opens one." in words
    assert "One ends when the customer has been quiet for 15 minutes." in words


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{{7*7}}%(count)s"


def test_what_others_wrote_is_shown_as_text_only(app: Flask) -> None:
    shop = Shop.make(app.test_client(), HOSTILE)
    connection = shop.connect("waha", name=HOSTILE)
    media = {"file_name": HOSTILE, "mime_type": "image/png"}
    recorded = shop.record(connection, HOSTILE, customer_name=HOSTILE, media=media, type="image")
    reader = Reader.signed_in(app, shop.keys["agent"])
    pages = [page_of(shop), page_of_session(shop, recorded[0]["session_id"])]
    for source in map(reader.read, pages):
        assert "<script>alert" not in source
        assert "<img src=x" not in source
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
        assert "{{7*7}}" in source
    assert "<bdi>&#34;&#39;&gt;&lt;script&gt;" in reader.read(pages[0])


def test_pages_load_nothing_but_files_of_our_own(app: Flask, shop: Shop, reader: Reader) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    admin = Reader.signed_in(app, ADMIN_KEY)
    answers = [
        Reader(app).open("/sign-in"),
        admin.open("/console/businesses"),
        reader.open(page_of(shop)),
        reader.open(f"{page_of(shop)}/active-chats"),
        reader.open(page_of_session(shop, session_id)),
        reader.open("/console/nowhere"),
        reader.open("/console/businesses"),
    ]
    for answer in answers:
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "media-src": "'self'",
            "connect-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for source in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert source.startswith(("/", "#", "?")), source
            assert not source.startswith("//"), source
        assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", answer.text)


def test_own_files_are_served_with_their_types(app: Flask) -> None:
    source = Reader(app).read("/sign-in")
    files = set(re.findall(r'"(/console/static/[^"]+)"', source))
    types = {one.rsplit(".", 1)[1]: Reader(app).open(one, buffered=True).mimetype for one in files}
    assert types == {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def test_a_key_in_the_header_reads_pages_too(app: Flask, shop: Shop) -> None:
    answer = app.test_client().get(page_of(shop), headers=bearer(shop.keys["viewer"]))
    assert answer.status_code == 200


def test_a_fault_of_ours_is_a_page_without_its_inside(
    monkeypatch: pytest.MonkeyPatch, services: WebServices, shop: Shop, reader: Reader
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("972500000001 wrote: hello")

    monkeypatch.setattr(type(services.service), "last_message_times", fail)
    answer = reader.open(page_of(shop))
    assert answer.status_code == 500
    assert "Something went wrong here" in words_of(answer.text)
    assert "972500000001" not in answer.text
