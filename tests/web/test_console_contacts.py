"""Finding conversations and customers, and what an agent writes down about one."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.web.reader import Reader, page_of, page_of_session, words_of
from tests.web.shop import Shop
from timer_service.indexer import Indexer
from timer_service.summarize_job import SummaryWorker
from timer_service.summarizers import build_summarizers
from timer_service.wiring import WebServices


@pytest.fixture
def agent(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["agent"])


@pytest.fixture
def viewer(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["viewer"])


def rows_of(source: str) -> list[str]:
    return re.findall(r'id="row-([^"]+)"', source)


def hear(shop: Shop, line: dict[str, Any], who: str, text: str, **values: Any) -> str:
    (recorded,) = shop.record(line, text, customer_wa_id=who, **values)
    session_id: str = recorded["session_id"]
    return session_id


def summarise(services: WebServices, shop: Shop, session_id: str, **fields: str) -> None:
    shop.post(f"/api/sessions/{session_id}/complete")
    _, extractive = build_summarizers(services.settings)
    SummaryWorker(services.database, None, extractive).summarize(UUID(session_id), 1, 0)
    with services.database.transaction() as db:
        for name, value in fields.items():
            db.exec_driver_sql(
                f"UPDATE summaries SET {name} = %s WHERE session_id = %s", (value, session_id)
            )
    Indexer(services.database).index_once()


def contact_of(shop: Shop, session_id: str) -> str:
    contact_id: str = shop.get(f"/api/sessions/{session_id}").json["contact_id"]
    return f"{page_of(shop)}/contacts/{contact_id}"


def link_named(source: str, words: str) -> str:
    found = re.search(rf'<a href="([^"]+)"[^>]*>{words}</a>', source)
    assert found is not None, words
    return found[1].replace("&amp;", "&")


def test_filters_stand_in_the_address_and_are_shown_as_chips_that_can_be_taken_away(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"timezone": "Asia/Jerusalem"})
    meta, waha = shop.connect("meta"), shop.connect("waha")
    kettle = "Do you have the glass kettle, and what does it cost?"
    first = hear(shop, meta, "972500000001", kettle, customer_name="Dana Levi")
    second = hear(shop, waha, "972500000002", "is the blue one there?", customer_name="Noam")
    summarise(services, shop, first, follow_up="call Dana")
    listed = f"{page_of(shop)}/conversations"
    today = shop.get(f"/api/sessions/{second}").json["started_at"][:10]
    for query, expected in (
        ("q=kettle", [first]),
        ("q=dana+glass", [first]),
        ("q=0002", [second]),
        ("q=050+000+0001", [first]),
        ("q=nothing", []),
        ("provider=waha", [second]),
        ("state=closed", [first]),
        ("follow_up=yes", [first]),
        ("summary=waiting", []),
        ("since=2020-01-01&until=2020-12-31", []),
        (f"since=2020-01-01&until={today}", [second, first]),
        ("q=kettle&provider=waha", []),
        ("q=&state=&provider=&since=", [second, first]),
    ):
        source = viewer.read(f"{listed}?{query}")
        assert rows_of(source) == expected, query
    source = viewer.read(f"{listed}?q=kettle&follow_up=yes&provider=meta")
    chips = re.findall(r'<a class="chip" href="([^"]+)">(.*?)</a>', source, re.DOTALL)
    assert [words_of(chip).split(" ×")[0] for _, chip in chips] == [  # noqa: RUF001 - meant
        "Search: kettle",
        "Provider: WhatsApp Cloud API",
        "Follow-up needed",
    ]
    without = chips[1][0].replace("&amp;", "&")
    assert "provider" not in without
    assert "q=kettle" in without
    assert rows_of(viewer.read(without)) == [first]
    assert '<option value="meta" selected>' in source
    assert 'value="kettle"' in source
    assert "checked" in source
    none = words_of(viewer.read(f"{listed}?q=nothing"))
    assert "No conversation fits." in none


@pytest.mark.parametrize(
    "query",
    [
        "provider=x", "summary=done", "follow_up=no", "since=yesterday", "until=2026-13-01",
        "contact=x", "before=abc", "after=abc", "until=9999-12-31",
    ],
)  # fmt: skip
def test_an_address_that_looks_for_nonsense_is_refused_in_words(
    shop: Shop, viewer: Reader, query: str
) -> None:
    answer = viewer.open(f"{page_of(shop)}/conversations?{query}")
    assert answer.status_code == 422
    assert "This address cannot be read" in words_of(answer.text)


def test_pages_lead_on_to_older_ones_and_back_to_newer_ones(
    monkeypatch: pytest.MonkeyPatch, shop: Shop, viewer: Reader
) -> None:
    monkeypatch.setattr("timer_http.console.conversation_pages.PAGE_LENGTH", 2)
    line = shop.connect()
    made = [hear(shop, line, f"97250000010{one}", "blue") for one in range(5)][::-1]
    for query in ("state=active", "q=blue"):
        address = f"{page_of(shop)}/conversations?{query}"
        first = viewer.read(address)
        second = viewer.read(link_named(first, "Older"))
        third = viewer.read(link_named(second, "Older"))
        assert [rows_of(one) for one in (first, second, third)] == [made[:2], made[2:4], made[4:]]
        assert "Older</a>" not in third
        back = viewer.read(link_named(third, "Newer"))
        assert rows_of(back) == made[2:4]
        top = viewer.read(link_named(back, "Newer"))
        assert rows_of(top) == made[:2]
        assert "Newer</a>" not in top
        assert ("every" in first, "hx-get" in second) == (True, False)


def test_the_live_part_of_a_conversation_with_a_summary_says_it_too(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    session_id = hear(
        shop, shop.connect("meta"), "972500000001", "Do you have the glass kettle in stock?"
    )
    summarise(services, shop, session_id, title="A kettle")
    part = agent.read(f"{page_of_session(shop, session_id)}/live")
    assert part.count('hx-swap-oob="true"') == 3
    assert "A kettle" in words_of(part)
    assert "hx-swap-oob" not in agent.read(page_of_session(shop, session_id))


def test_a_note_and_a_task_are_added_where_one_is_and_lead_back_there(
    shop: Shop, agent: Reader
) -> None:
    session_id = hear(shop, shop.connect(), "972500000001", "hi", customer_name="Dana Levi")
    contact, session = contact_of(shop, session_id), page_of_session(shop, session_id)
    added = agent.press(f"{contact}/notes", data={"text": "likes blue", "session_id": session_id})
    assert added.headers["Location"] == f"{session}#notes"
    added = agent.press(f"{contact}/tasks", data={"text": "call", "due": "2026-01-31"})
    assert added.headers["Location"] == f"{contact}#tasks"
    for page in (session, contact):
        words = words_of(agent.read(page))
        assert "likes blue agent · just now" in words
        assert "Due January 31, 2026" in words
    task = shop.get("/api/tasks").json["items"][0]
    assert task["due_at"] == "2026-01-31T23:59:59.000Z"
    agent.press(f"{contact}/tasks/{task['id']}", data={"is_done": "yes"})
    assert "Done: 1" in words_of(agent.read(contact))
    agent.press(f"{contact}/tasks/{task['id']}", data={"is_done": "no"})
    assert "Done: 1" not in words_of(agent.read(contact))
    note = shop.get(f"/api/contacts/{contact.rsplit('/', 1)[1]}/notes").json["items"][0]
    agent.press(f"{contact}/notes/{note['id']}/delete")
    assert "likes blue" not in agent.read(contact)


def test_a_follow_up_becomes_a_task_by_one_click_and_a_second_one_makes_none(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    session_id = hear(
        shop, shop.connect("meta"), "972500000001", "Do you have the glass kettle in stock?"
    )
    summarise(services, shop, session_id, follow_up="send the offer")
    assert "Make it a task" in agent.read(page_of_session(shop, session_id))
    for _ in range(2):
        answer = agent.press(
            f"{contact_of(shop, session_id)}/tasks",
            data={"follow_up": "yes", "session_id": session_id},
        )
        assert answer.status_code == 303
    (task,) = shop.get("/api/tasks").json["items"]
    assert task["text"] == "send the offer"


@pytest.mark.parametrize(
    ("form", "typed", "kept", "problem"),
    [
        ("notes", {"text": "  "}, "", "Write something"),
        ("notes", {"text": "x" * 10_001}, "x" * 10_001, "Write something"),
        ("tasks", {"text": "call", "due": "soon"}, 'value="call"', "Write the day as"),
        ("attributes", {"name": "n" * 65, "value": "v"}, 'value="v"', "Give it a name"),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_says_what_is_wrong(
    *, shop: Shop, agent: Reader, form: str, typed: dict[str, str], kept: str, problem: str
) -> None:
    contact = contact_of(shop, hear(shop, shop.connect(), "972500000001", "hi"))
    answer = agent.press(f"{contact}/{form}", data=typed)
    assert answer.status_code == 422
    assert kept in answer.text
    assert problem in words_of(answer.text)
    assert '<details class="adder" open>' in answer.text


def test_attributes_are_set_and_taken_away(shop: Shop, agent: Reader) -> None:
    contact = contact_of(shop, hear(shop, shop.connect(), "972500000001", "hi"))
    agent.press(f"{contact}/attributes", data={"name": "מידה", "value": "38"})
    assert "<dt><bdi>מידה</bdi></dt>" in agent.read(contact)
    agent.press(f"{contact}/attributes", data={"name": "מידה", "value": ""})
    assert "<dt><bdi>מידה</bdi></dt>" not in agent.read(contact)


def test_a_viewer_reads_all_of_it_and_changes_nothing(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    session_id = hear(
        shop, shop.connect("meta"), "972500000001", "Do you have the glass kettle in stock?"
    )
    contact = contact_of(shop, session_id)
    shop.post(f"/api/contacts/{contact.rsplit('/', 1)[1]}/notes", {"text": "likes blue"})
    summarise(services, shop, session_id, follow_up="call")
    for page in (contact, page_of_session(shop, session_id)):
        source = viewer.read(page)
        assert "likes blue" in source
        assert 'method="post"' not in source.split("<main", 1)[1]
    for path in (
        f"{contact}/notes", f"{contact}/tasks", f"{contact}/attributes",
        f"{contact}/tasks/{uuid4()}", f"{contact}/notes/{uuid4()}/delete",
        f"{page_of_session(shop, session_id)}/answer",
    ):  # fmt: skip
        assert viewer.press(path, data={"text": "x"}).status_code == 403


def test_another_business_is_told_nothing(shop: Shop, other_shop: Shop, app: Flask) -> None:
    session_id = hear(shop, shop.connect(), "972500000001", "secret words")
    contact_id = contact_of(shop, session_id).rsplit("/", 1)[1]
    stranger = Reader.signed_in(app, other_shop.keys["manager"])
    theirs = f"{page_of(other_shop)}/contacts/{contact_id}"
    for path in (theirs, f"{page_of(shop)}/contacts", f"{page_of(shop)}/contacts.csv"):
        assert stranger.open(path).status_code == 404
    assert stranger.press(f"{theirs}/notes", data={"text": "x"}).status_code == 404
    assert stranger.press(f"{theirs}/attributes", data={"name": "a"}).status_code == 404
    assert rows_of(stranger.read(f"{page_of(other_shop)}/conversations?q=secret")) == []
    assert "972" not in stranger.read(f"{page_of(other_shop)}/contacts?q=0001")


def test_contacts_are_listed_with_their_last_conversation_and_found(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    line = shop.connect("meta")
    kettle = "Do you have the glass kettle in stock?"
    first = hear(shop, line, "972500000001", kettle, customer_name="Dana Levi")
    summarise(services, shop, first, title="A kettle", follow_up="call")
    hear(shop, line, "972500000002", "hi", customer_name="נועם")
    listed = f"{page_of(shop)}/contacts"
    words = words_of(viewer.read(listed))
    assert "Dana Levi" in words
    assert "A kettle Follow-up needed" in words
    assert "contacts.csv" in viewer.read(listed)
    found = words_of(viewer.read(f"{listed}?q=נו"))
    assert "נועם" in found
    assert "Dana Levi" not in found
    assert "No contact fits." in words_of(viewer.read(f"{listed}?q=zzz"))
    past = words_of(viewer.read(contact_of(shop, first)))
    assert "WhatsApp Cloud API A kettle Follow-up needed" in past


def test_the_list_of_contacts_goes_on_over_pages(
    monkeypatch: pytest.MonkeyPatch, shop: Shop, viewer: Reader
) -> None:
    monkeypatch.setattr("timer_http.console.contact_pages.PAGE_LENGTH", 2)
    line = shop.connect()
    for number in range(3):
        hear(shop, line, f"97250000000{number}", "hi", customer_name=f"Dana {number}")
    for query in ("", "?q=dana"):
        first = viewer.read(f"{page_of(shop)}/contacts{query}")
        second = viewer.read(link_named(first, "Older"))
        assert [("Dana 2" in one, "Dana 0" in one) for one in (first, second)] == [
            (True, False),
            (False, True),
        ]


def test_the_file_of_contacts_speaks_the_readers_language(shop: Shop, viewer: Reader) -> None:
    hear(shop, shop.connect(), "972500000001", "hi", customer_name="=1+1")
    viewer.read(f"{page_of(shop)}?lang=id")
    answer = viewer.open(f"{page_of(shop)}/contacts.csv")
    assert answer.text.startswith("\ufeffId,Nama,Nomor,")
    assert ",'=1+1,972500000001," in answer.text


def test_an_answer_is_queued_once_however_often_it_is_sent(shop: Shop, agent: Reader) -> None:
    line = shop.connect("meta", secrets={"app_secret": "s", "access_token": "t"})
    session_id = hear(shop, line, "972500000001", "hi")
    page = page_of_session(shop, session_id)
    once = re.search(r'name="once" value="([^"]+)"', agent.read(page))
    assert once is not None
    for _ in range(2):
        answer = agent.press(f"{page}/answer", data={"text": "שלום", "once": once[1]})
        assert answer.status_code == 303
    messages = shop.get(f"/api/sessions/{session_id}/messages").json["items"]
    assert [(one["direction"], one["author"], one["text"]) for one in messages] == [
        ("in", "customer", "hi"),
        ("out", "agent", "שלום"),
    ]
    assert answer.headers["Location"] == f"{page}#message-{messages[1]['id']}"
    assert "Waiting to be sent" in words_of(agent.read(page))


def test_after_the_service_window_the_page_says_that_a_template_is_needed(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    session_id = hear(shop, shop.connect("meta"), "972500000001", "hi")
    page = page_of_session(shop, session_id)
    with services.database.transaction() as db:
        db.exec_driver_sql(
            "UPDATE sessions SET last_customer_message_at = now() - interval '25 hours'"
        )
    words = "The customer's last message is more than 24 hours old"
    source = agent.read(page)
    assert words in words_of(source)
    assert "<textarea" not in source.split("answer-title", 1)[1].split("</section>")[0]
    refused = agent.press(f"{page}/answer", data={"text": "what I typed", "once": "1"})
    assert refused.status_code == 422
    assert words in words_of(refused.text)
    assert ">what I typed</textarea>" in refused.text


def test_an_answer_that_cannot_go_out_says_why_and_keeps_what_was_typed(
    shop: Shop, agent: Reader
) -> None:
    page = page_of_session(shop, hear(shop, shop.connect("baileys"), "972500000001", "hi"))
    for typed, problem in (("hello", "its gateway's address is missing"), ("", "Write an answer")):
        answer = agent.press(f"{page}/answer", data={"text": typed, "once": "2"})
        assert answer.status_code == 422
        assert problem in words_of(answer.text)
        assert f">{typed}</textarea>" in answer.text
