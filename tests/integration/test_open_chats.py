"""Messages of open chats take a short way, in one call: with the same result as the long one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.support.builders import DANA, NOAM, World
from tests.support.waiting import wait_until
from timer_service.follow_up import Outcome
from timer_service.group_commit import Alone
from timer_service.ids import ConnectionId, new_id
from timer_service.intake_batch import Bundle, continue_chats
from timer_service.messages import (
    Author,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Event,
    Media,
)
from timer_service.records import contacts

LID = ContactIds(lid="111222333444")
BOTH = ContactIds(phone=DANA.phone, lid=LID.lid)


def take_short_way(world: World, *events: Event, connection_id: ConnectionId | None = None) -> bool:
    """Offer each event by itself; tell whether all of them went the short way."""
    bundles = [Bundle(connection_id or world.connection_id, [event]) for event in events]
    outcome = Outcome()
    with world.database.statements() as db:
        answers = continue_chats(db, bundles, outcome)
    world.follow_up.run(outcome)
    return len(answers) == len(bundles)


def row_of(world: World, contact: ContactIds) -> dict[str, Any]:
    """Return the session and last message of a customer, instants as tens of s since it came."""
    (row,) = world.read(
        """SELECT s.*, m.direction, m.author, m.type, m.text, m.media, m.reply_to, m.payload,
             m.extra, m.sent_at, m.received_at, m.placed_at, m.status AS delivery
           FROM sessions s JOIN LATERAL (
             SELECT * FROM messages WHERE session_id = s.id ORDER BY id DESC LIMIT 1) m ON true
           WHERE s.contact_id = (SELECT contact_id FROM contact_ids WHERE value = :value)""",
        value=contact.phone,
    )
    arrived_at = row["received_at"]
    named = {"id", "contact_id", "customer_wa_id", "created_at", "started_at"}
    return {
        name: round((value - arrived_at).total_seconds(), -1) if hasattr(value, "tzinfo") else value
        for name, value in row.items()
        if name not in named
    }


MESSAGES: dict[str, Callable[..., Event]] = {
    "plain": lambda world, contact: world.heard("hi", contact=contact),
    "of the business": lambda world, contact: world.said("yes", contact=contact),
    "of its agent": lambda world, contact: world.said("yes", contact=contact, author=Author.AGENT),
    "sent before": lambda world, contact: world.heard("hi", contact=contact, sent_ago_s=40),
    "sent in the future": lambda world, contact: world.heard("hi", contact=contact, sent_ago_s=-40),
    "with everything": lambda world, contact: world.heard(
        "שלום \U0001f600 \"'\\",
        contact=contact,
        type="image",
        media=Media(mime_type="image/png", size_bytes=7),
        reply_to="r",
        payload="p",
        extra={"a": [1, {"b": None}]},
        customer_name="Dana",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("touch_on", ["customer", "any"])
def test_both_ways_leave_the_same_rows(world: World, name: str, touch_on: str) -> None:
    world.run("UPDATE businesses SET touch_on = :touch_on", touch_on=touch_on)
    for contact in (DANA, NOAM):
        world.hear("first", contact=contact, customer_name="Dana")
    world.let_pass(100)
    assert take_short_way(world, MESSAGES[name](world, DANA))
    bundle = Bundle(world.connection_id, [MESSAGES[name](world, NOAM)])
    assert len(world.intake._record_alone(bundle)) == 1
    assert row_of(world, DANA) == row_of(world, NOAM)


def test_it_is_known_by_all_ids_that_are_one_customers(world: World) -> None:
    world.hear(contact=BOTH)
    assert take_short_way(world, *(world.heard(contact=one) for one in (BOTH, LID, DANA)))
    assert world.sessions()[0].message_count == 4


def test_redis_follows(world: World) -> None:
    session_id = world.hear().session_id
    world.let_pass(100)
    world.live_chats.forget([world.member(session_id)])
    assert world.counted_by_redis() == 0
    assert take_short_way(world, world.heard())
    assert world.counted_by_redis() == 1


def test_two_messages_of_one_chat_in_one_call_are_both_added(world: World) -> None:
    session_id = world.hear().session_id
    assert take_short_way(world, world.heard("b"), world.said("c"))
    assert world.session(session_id).message_count == 3


class TestAShorterGap:
    """Takes what the sweep finds a session by with it; the database refuses anything else."""

    @pytest.fixture(autouse=True)
    def shorter(self, world: World) -> None:
        world.hear()
        world.set_rules(idle_gap_s=60)

    def test_by_the_short_way(self, world: World) -> None:
        assert take_short_way(world, world.heard())
        assert self.is_found_in_time(world)

    def test_by_the_long_way(self, world: World) -> None:
        world.record(world.heard(), world.heard())
        assert self.is_found_in_time(world)

    @staticmethod
    def is_found_in_time(world: World) -> bool:
        row = world.read("SELECT due_not_before = deadline_at AS is_it FROM sessions")[0]
        return bool(row["is_it"])


class TestLeftToTheLongWay:
    @pytest.fixture(autouse=True)
    def open_chat(self, world: World) -> None:
        world.hear("first", id="first", customer_name="Dana")

    def assert_left(self, world: World, *events: Event, **more: Any) -> None:
        before = world.read("SELECT * FROM sessions ORDER BY id"), self.count(world)
        assert not take_short_way(world, *events, **more)
        assert (world.read("SELECT * FROM sessions ORDER BY id"), self.count(world)) == before

    @staticmethod
    def count(world: World) -> int:
        return len(world.read("SELECT 1 FROM messages"))

    def test_a_strangers_message(self, world: World) -> None:
        self.assert_left(world, world.heard(contact=NOAM))

    def test_one_that_names_an_id_not_known_yet(self, world: World) -> None:
        self.assert_left(world, world.heard(contact=BOTH))

    def test_one_whose_ids_are_two_contacts(self, world: World) -> None:
        world.hear(contact=LID)
        self.assert_left(world, world.heard(contact=BOTH))

    def test_one_of_nobody(self, world: World) -> None:
        self.assert_left(world, world.heard(contact=ContactIds()))

    def test_one_held_already(self, world: World) -> None:
        self.assert_left(world, world.heard(id="first"))

    def test_one_sent_long_before(self, world: World) -> None:
        self.assert_left(world, world.heard(sent_ago_s=61))

    def test_one_that_tells_another_name(self, world: World) -> None:
        self.assert_left(world, world.heard(customer_name="Dina"))

    def test_one_after_the_deadline(self, world: World) -> None:
        world.let_pass(900)
        self.assert_left(world, world.heard())

    def test_one_after_the_close(self, world: World) -> None:
        world.service.complete(world.sessions()[0].id)
        self.assert_left(world, world.heard())

    def test_one_on_another_connection(self, world: World) -> None:
        self.assert_left(world, world.heard(), connection_id=ConnectionId(new_id()))

    def test_one_on_a_connection_that_is_gone(self, world: World) -> None:
        world.run("UPDATE connections SET deleted_at = clock_timestamp()")
        self.assert_left(world, world.heard())

    def test_one_on_a_connection_never_heard_of(self, world: World) -> None:
        world.run("UPDATE connections SET status = 'new'")
        self.assert_left(world, world.heard())

    def test_what_is_not_a_message(self, world: World) -> None:
        self.assert_left(world, ConnectionUpdate(state=ConnectionState.FAILED))

    def test_one_of_a_customer_somebody_else_holds_who_is_not_waited_for(
        self, world: World
    ) -> None:
        (owner,) = [row["id"] for row in world.read("SELECT id FROM contacts")]
        with world.database.transaction() as db:
            assert contacts.lock(db, [owner])
            assert not take_short_way(world, world.heard())
        assert take_short_way(world, world.heard())


class TestInCompany:
    """What one caller brings never keeps another's from being stored."""

    def test_a_message_that_cannot_be_stored_is_only_its_own_callers_trouble(
        self, world: World
    ) -> None:
        good = Bundle(world.connection_id, [world.heard(contact=NOAM)])
        bad = Bundle(world.connection_id, [world.heard("NUL: \x00")])
        with capture_logs() as logged:
            answers = world.intake._record_together([good, bad])
        assert {one["event"] for one in logged} >= {"intake_group_broken_up"}
        assert [one.value for one in answers] == ["to be done alone"] * 2
        assert world.record(*good.events)[0].opened
        with pytest.raises(Exception, match=r"NUL|0x00|u0000"):
            world.record(*bad.events)
        assert [one.customer_wa_id for one in world.sessions()] == [NOAM.phone]

    def test_a_customer_somebody_else_holds_is_waited_for_by_its_own_caller_only(
        self, world: World
    ) -> None:
        world.hear(contact=DANA)
        (owner,) = [row["id"] for row in world.read("SELECT id FROM contacts")]
        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                assert contacts.lock(db, [owner])
                waiting = pool.submit(world.hear, contact=DANA)
                wait_until(lambda: world.waiting_for_locks() == 1, what="Dana's message waits")
                assert world.hear(contact=NOAM).opened
                assert not waiting.done()
            assert not waiting.result(10).opened

    @pytest.mark.parametrize("is_known", [True, False])
    def test_who_comes_together_with_a_held_customer_does_not_wait(
        self, world: World, is_known: bool
    ) -> None:
        world.hear(contact=DANA)
        (owner,) = [row["id"] for row in world.read("SELECT id FROM contacts")]
        if is_known:
            world.service.complete(world.hear(contact=NOAM).session_id)
        held, free = (
            Bundle(world.connection_id, [world.heard(contact=one)]) for one in (DANA, NOAM)
        )
        with world.database.transaction() as db:
            db.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            assert contacts.lock(db, [owner])
            answers = world.intake._record_together([held, free])
        assert answers[0] is Alone.ALONE
        assert not isinstance(answers[1], BaseException | Alone)
        (recorded,), _ = answers[1]
        assert recorded.opened


def test_a_touch_changes_no_index(world: World) -> None:
    """Postgres calls that a HOT update; it is half of what a message costs there."""
    world.hear()

    def updates() -> tuple[int, int]:
        row = world.read("""
            SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables
            WHERE relname = 'sessions'""")[0]
        return row["all"], row["hot"]

    for _ in range(5):
        world.hear()
    wait_until(lambda: updates() == (5, 5))
