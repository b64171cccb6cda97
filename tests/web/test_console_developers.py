"""Keys, documents, jobs and the journal, for those who connect programs."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import Flask

from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import ADMIN_KEY, Shop, bearer
from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import ConnectionState, ConnectionUpdate, MemberRole
from timer_service.wiring import WebServices

PASSWORD = "a shoe for every foot"


@pytest.fixture
def manager(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["manager"])


@pytest.fixture
def page(shop: Shop) -> str:
    return f"{page_of(shop)}/developers"


def entries_of(source: str) -> list[str]:
    """Return the journal's entries as a reader sees them, without their times."""
    (journal,) = re.findall(r'<ol class="rows journal">(.*?)</ol>', source, re.DOTALL)
    entries = re.findall(r"<li[^>]*>(.*?)</li>", journal, re.DOTALL)
    return [words_of(re.sub(r"<time.*?</time>", "", one, flags=re.DOTALL)) for one in entries]


def test_a_key_is_shown_once_and_lets_a_program_in(app: Flask, manager: Reader, page: str) -> None:
    answer = manager.press(f"{page}/keys", data={"name": "website", "role": "agent"})
    assert answer.status_code == 200
    (key,) = re.findall(r'value="(tsk_[^"]+)"', answer.text)
    shown = manager.read(page)
    assert key not in shown
    assert "website Made just now" in words_of(shown)
    assert "Agent Never used" in words_of(shown)
    client = app.test_client()
    for _ in range(2):
        assert client.get("/api/sessions", headers=bearer(key)).status_code == 200
    assert "Agent Last used just now" in words_of(manager.read(page))


def test_a_revoked_key_is_refused_and_stays_in_the_list(
    app: Flask, shop: Shop, manager: Reader, page: str
) -> None:
    made = shop.post("/api/keys", {"role": "viewer", "name": "old website"}).json
    assert manager.press(f"{page}/keys/{made['id']}/revoke").status_code == 303
    assert shop.client.get("/api/sessions", headers=bearer(made["api_key"])).status_code == 401
    assert "Viewer Revoked just now" in words_of(manager.read(page))
    assert manager.press(f"{page}/keys/{made['id']}/revoke").status_code == 404


@pytest.mark.parametrize("role", ["admin", "business_admin", "", "owner"])
def test_no_key_reaches_further_than_a_manager(manager: Reader, page: str, role: str) -> None:
    assert manager.press(f"{page}/keys", data={"role": role}).status_code == 422


def test_keys_and_journals_of_others_are_not_there(
    app: Flask, shop: Shop, other_shop: Shop, manager: Reader, page: str
) -> None:
    theirs = other_shop.post("/api/keys", {"role": "viewer", "name": "theirs"}).json
    assert "theirs" not in manager.read(page)
    assert manager.press(f"{page}/keys/{theirs['id']}/revoke").status_code == 404
    assert manager.open(f"{page_of(other_shop)}/developers").status_code == 404
    for role in ("viewer", "agent"):
        assert Reader.signed_in(app, shop.keys[role]).open(page).status_code == 403


def test_the_documents_are_a_step_away(manager: Reader, page: str) -> None:
    source = manager.read(page)
    for address in re.findall(r'<a href="(/docs|/api/openapi.json)"', source):
        assert manager.open(address, buffered=True).status_code == 200
    assert source.count('href="/docs"') == 1


def test_the_journal_tells_who_changed_what_by_whichever_way(
    app: Flask, shop: Shop, manager: Reader, page: str, services: WebServices
) -> None:
    line = shop.connect("waha", name="Back office")
    shop.patch(f"/api/businesses/{shop.id}", {"idle_gap_s": 60})
    manager.press(f"{page_of(shop)}/settings/connections/{line['id']}", data={"name": "Front"})
    update = ConnectionUpdate(state=ConnectionState.CONNECTED, own_number=None)
    for _ in range(2):
        services.intake.record(ConnectionId(UUID(line["id"])), [update])
    app.test_client().patch(
        f"/api/businesses/{shop.id}", json={"name": "Shoes"}, headers=bearer(ADMIN_KEY)
    )
    key_name = "made with the business"
    assert entries_of(manager.read(page))[:5] == [
        "Settings changed The admin key",
        "Connection status Front · Connected The gateway",
        f"Connection changed Front {key_name}",
        f"Settings changed {key_name}",
        f"Number connected {key_name}",
    ]


def test_what_was_refused_is_not_in_the_journal(shop: Shop, manager: Reader, page: str) -> None:
    before = entries_of(manager.read(page))
    assert shop.patch(f"/api/businesses/{shop.id}", {"idle_gap_s": -1}).status_code == 422
    assert shop.delete(f"/api/keys/{uuid4()}").status_code == 404
    assert manager.press(f"{page_of(shop)}/settings/idle-gap", data={}).status_code == 422
    assert entries_of(manager.read(page)) == before


def test_the_journal_tells_of_people(
    quick_passwords: None, app: Flask, shop: Shop, page: str, services: WebServices
) -> None:
    owner = BusinessId(UUID(shop.id))
    link = services.members.invite(owner, "rina@shop.example", MemberRole.ADMIN)
    rina = Reader(app)
    path = link.removeprefix("https://timer.example")
    rina.press(path, data={"name": "Rina", "password": PASSWORD})
    typed = {"email": "Noam@shop.example", "role": "agent"}
    invited = rina.press(f"{page_of(shop)}/users/invitations", data=typed)
    assert invited.status_code == 200
    rina.press("/sign-in", data={"email": "rina@shop.example", "password": PASSWORD})
    assert entries_of(rina.read(page))[:3] == [
        "User signed in Rina",
        "User invited noam@shop.example Rina",
        "User joined Admin Rina",
    ]
    services.members.remove(owner, services.members.members_of(owner)[0].id)
    left = Reader.signed_in(app, shop.keys["manager"]).read(page)
    assert entries_of(left)[0] == "User signed in Somebody who is gone"


def test_the_journal_goes_on_over_pages(
    monkeypatch: pytest.MonkeyPatch, shop: Shop, manager: Reader, page: str
) -> None:
    monkeypatch.setattr("timer_http.console.developer_pages.JOURNAL_LENGTH", 2)
    for gap_s in range(60, 63):
        shop.patch(f"/api/businesses/{shop.id}", {"idle_gap_s": gap_s})
    # and the two keys that the shop has made
    address: str | None = page
    lengths = []
    while address is not None:
        source = manager.read(address)
        lengths.append(len(entries_of(source)))
        older = re.search(r'href="([^"#]+)(#journal)?" rel="next"', source)
        address = older[1].replace("&amp;", "&") if older else None
    assert lengths == [2, 2, 1]


def test_the_journal_stays_short(shop: Shop, manager: Reader, page: str, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(
            """INSERT INTO journal (id, business_id, at, kind, actor_kind)
               SELECT gen_random_uuid(), %s::uuid, clock_timestamp() - make_interval(mins => n),
                 'settings_changed', 'service' FROM generate_series(1, 2000) n
               UNION ALL SELECT gen_random_uuid(), %s::uuid, clock_timestamp() - interval '91 days',
                 'key_made', 'service' FROM generate_series(1, 5)""",
            [shop.id, shop.id],
        )
        shop.patch(f"/api/businesses/{shop.id}", {"idle_gap_s": 60})
        (count,) = db.execute("SELECT count(*) FROM journal").fetchone()  # type: ignore[misc]
        (old,) = db.execute(  # type: ignore[misc]
            "SELECT count(*) FROM journal WHERE at < clock_timestamp() - interval '90 days'"
        ).fetchone()
    assert (count, old) == (2000, 0)
    assert entries_of(manager.read(page))[0] == "Settings changed made with the business"


def test_the_jobs_stand_in_the_frame_for_the_admin_alone(
    app: Flask, manager: Reader, page: str
) -> None:
    admin = Reader.signed_in(app, ADMIN_KEY)
    answer = admin.open("/console/jobs")
    assert 'src="/rq/"' in answer.text
    assert "; frame-src 'self'" in answer.headers["Content-Security-Policy"]
    framed = admin.open("/rq/")
    assert "frame-ancestors 'self'" in framed.headers["Content-Security-Policy"]
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "Jobs" in words_of(admin.read("/console/businesses"))
    assert manager.open("/console/jobs").status_code == 403
    assert "/console/jobs" not in manager.read(page)
