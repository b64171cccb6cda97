"""Finding conversations: by the walk and by the index alike, and what is searched is kept fresh."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.support.builders import DANA, NOAM, World
from timer_service.contact_book import ContactBook, NewTask, Writer
from timer_service.ids import SessionId
from timer_service.indexer import Indexer
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Direction,
    IdentityLink,
    MessageChange,
    SummaryStatus,
)
from timer_service.records import search, summaries
from timer_service.records.session_views import Filter


def find(world: World, text: str, **more: object) -> list[UUID]:
    with world.database.transaction() as db:
        rows = search.list_page(db, world.business_id, Filter(text=text, **more))  # type: ignore[arg-type]
    return [row["id"] for row in rows]


def settle(world: World, session_id: UUID) -> None:
    """Close a conversation, have its summary skipped, and write what it is found by."""
    world.service.complete(session_id)
    with world.database.transaction() as db:
        assert summaries.finish(db, SessionId(session_id), 1, SummaryStatus.SKIPPED)
    Indexer(world.database).index_once()


@pytest.fixture(params=["by the walk", "by the index"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "by the index":
        monkeypatch.setattr(search, "WALKED", 0)
    return


@pytest.mark.usefixtures("either_way")
class TestEitherWay:
    def test_all_words_must_be_there_each_by_its_beginning(self, world: World) -> None:
        first = world.hear("יש לכם סנדלים כחולים במידה 38?", customer_name="דנה לוי").session_id
        settle(world, first)
        second = world.hear("sepatu merah, it's O'Neill", contact=NOAM).session_id
        settle(world, second)
        for typed, expected in (
            ("סנדל כחול", [first]),
            ("דנה 38", [first]),
            ("סנדל אדומים", []),
            ("SEPATU", [second]),
            ("patu", []),
            ("o'neill", [second]),
            ("' & ! | ( \\ :*", []),
            ("", []),
        ):
            assert find(world, typed) == expected, typed

    def test_pages_of_a_search_go_on_and_back(self, world: World) -> None:
        made = []
        for number in range(5):
            made.append(world.hear("blue", contact=ContactIds(phone=f"97250{number}")).session_id)
            settle(world, made[-1])
        newest_first = made[::-1]
        with world.database.transaction() as db:
            page = search.list_page(db, world.business_id, Filter(text="blue", limit=2))
            position = (page[-1]["started_at"], page[-1]["id"])
            rest = search.list_page(
                db, world.business_id, Filter(text="blue", before=position, limit=3)
            )
            first_of_rest = (rest[-1]["started_at"], rest[-1]["id"])
            back = search.list_page(
                db, world.business_id, Filter(text="blue", after=first_of_rest, limit=2)
            )
        assert [row["id"] for row in page] == newest_first[:2]
        assert [row["id"] for row in rest] == newest_first[2:]
        assert [row["id"] for row in back] == newest_first[2:4]

    def test_filters_hold_for_what_is_found(self, world: World) -> None:
        settle(world, world.hear("blue").session_id)
        goes_on = world.hear("blue", contact=NOAM).session_id
        assert find(world, "blue", state="open") == [goes_on]
        assert goes_on not in find(world, "blue", state="closed")
        assert find(world, "blue", provider="waha") == []
        assert find(world, "blue", summary="failed") == []


def test_what_goes_on_or_waits_for_its_summary_is_found_as_it_is(world: World) -> None:
    session_id = world.hear("is the blue one in stock?").session_id
    assert find(world, "blue") == [session_id]
    world.service.complete(session_id)
    assert find(world, "blue") == [session_id]


def test_what_was_edited_or_deleted_is_found_no_more(world: World) -> None:
    session_id = world.hear("my card number is 4580", id="m-1").session_id
    world.hear("and the blue one", id="m-2")
    settle(world, session_id)
    assert find(world, "card") == [session_id]
    customer = Direction.IN
    world.record(MessageChange(kind=ChangeKind.REVOKE, direction=customer, target="m-1"))
    world.record(
        MessageChange(kind=ChangeKind.EDIT, direction=customer, target="m-2", text="the red one")
    )
    assert Indexer(world.database).index_once() == 1
    assert find(world, "card") == find(world, "blue") == []
    assert find(world, "red") == [session_id]


def test_an_index_step_is_bounded_and_takes_the_newest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_service.indexer.MOST_SESSIONS", 1)
    made = [
        world.hear("blue", contact=ContactIds(phone=f"97250{number}")).session_id
        for number in range(3)
    ]
    for session_id in made:
        world.service.complete(session_id)
        with world.database.transaction() as db:
            search.mark_stale(db, session_id)
            search.mark_stale(db, session_id)
    indexer = Indexer(world.database)
    written = []
    while indexer.index_once():
        rows = world.read("SELECT session_id FROM session_words")
        written += [row["session_id"] for row in rows if row["session_id"] not in written]
    assert written == made[::-1]


def test_a_conversation_of_any_length_is_indexed(world: World) -> None:
    session_id = world.hear("blue " + "a-b/c.d@e-" * 6_000).session_id
    for number in range(20):
        world.hear(f"לָ{number}־" * 8_000)
    settle(world, session_id)
    assert world.read("SELECT session_id FROM session_words")


def test_merged_customers_keep_what_was_noted_of_both(world: World) -> None:
    book = ContactBook(world.database)
    hidden = ContactIds(lid="111111111111111")
    contacts = [
        world.session(world.hear(contact=one).session_id).contact_id for one in (DANA, hidden)
    ]
    for number, contact_id in enumerate(contacts):
        book.add_note(world.business_id, contact_id, f"note {number}", Writer("Maya"))
        book.add_task(world.business_id, contact_id, NewTask(f"task {number}"), Writer("Maya"))
        book.change_attributes(world.business_id, contact_id, {"which": number, f"k{number}": 1})
    world.record(IdentityLink(contact=ContactIds(phone=DANA.phone, lid=hidden.lid)))
    kept = book.contact(world.business_id, contacts[1])
    assert kept.id == contacts[0]
    assert kept.attributes == {"which": 0, "k0": 1, "k1": 1}
    assert kept.open_task_count == 2
    assert len(book.notes(world.business_id, contacts[1], before=None, limit=5)) == 2


def test_a_note_outlives_the_conversation_it_was_written_at(world: World) -> None:
    book = ContactBook(world.database)
    session = world.session(world.hear().session_id)
    note = book.add_note(
        world.business_id, session.contact_id, "likes blue", Writer("Maya"), session_id=session.id
    )
    world.run("DELETE FROM sessions WHERE id = :id", id=session.id)
    (kept,) = book.notes(world.business_id, session.contact_id, before=None, limit=5)
    assert (kept.id, kept.session_id) == (note.id, None)
