"""Taking messages in on a real Postgres and a real Redis: the rules of the path of a message."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.support.builders import DANA, NOAM, World
from tests.support.live_sessions import Held
from tests.support.waiting import wait_until
from timer_service.errors import NotFound
from timer_service.ids import ConnectionId
from timer_service.intake_batch import Recorded
from timer_service.messages import (
    Author,
    ChangeKind,
    CloseReason,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    Media,
    MessageChange,
    ProviderName,
    Skipped,
)
from timer_service.records import sessions


class TestOpening:
    def test_the_first_message_opens_a_session_that_is_counted_at_once(self, world: World) -> None:
        recorded = world.hear("do you ship to Haifa?", id="first", customer_name="Dana")
        assert recorded == Recorded("first", recorded.session_id, opened=True, duplicate=False)
        session = world.session(recorded.session_id)
        assert (session.is_open, session.status, session.number) == (True, "active", 1)
        assert (session.customer_wa_id, session.customer_name) == (DANA.phone, "Dana")
        assert session.message_count == 1
        assert session.summary is None
        assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=900)
        assert session.last_message_at == session.started_at == session.last_customer_message_at
        assert world.counted_by_redis() == 1

    def test_the_live_key_ends_with_the_deadline(self, world: World) -> None:
        recorded = world.hear()
        held = Held(world.redis, world.member(recorded.session_id))
        left_ms = world.read(
            "SELECT extract(epoch FROM deadline_at - clock_timestamp()) * 1000 AS ms FROM sessions"
        )[0]["ms"]
        assert abs(world.redis.pttl(held.live_key) - float(left_ms)) < 100
        assert held.version == "1"

    def test_it_does_not_wait_with_a_commit_that_waits_for_the_disk(self, world: World) -> None:
        held = Held(world.redis, world.member(world.hear().session_id))
        world.run("""
            CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
              'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages
              DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()""")
        try:
            world.hear("and a second one")
        finally:
            world.run("DROP FUNCTION wait() CASCADE")
        left_ms = world.read(
            "SELECT extract(epoch FROM deadline_at - clock_timestamp()) * 1000 AS ms FROM sessions"
        )[0]["ms"]
        assert held.version == "2"
        assert world.redis.pttl(held.live_key) - float(left_ms) < 200

    def test_an_outgoing_message_opens_a_session_with_a_deadline(self, world: World) -> None:
        session = world.session(world.say(author=Author.BOT).session_id)
        assert session.is_open
        assert session.deadline_at - session.started_at == timedelta(seconds=900)
        assert session.last_customer_message_at is None
        assert world.counted_by_redis() == 1

    def test_the_customers_answer_to_it_joins_and_touches(self, world: World) -> None:
        opening = world.say()
        world.let_pass(600)
        answer = world.hear()
        assert answer == Recorded(
            answer.provider_message_id, opening.session_id, opened=False, duplicate=False
        )
        session = world.session(opening.session_id)
        assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=900)
        assert session.message_count == 2

    def test_each_connection_has_a_session_of_its_own_with_the_same_contact(
        self, world: World
    ) -> None:
        other = world.add_connection("2000", ProviderName.BAILEYS)
        here = world.hear()
        there = world.record(world.heard(), connection_id=other)[0]
        first, second = world.session(here.session_id), world.session(there.session_id)
        assert first.id != second.id
        assert first.contact_id == second.contact_id
        assert (first.number, second.number) == (1, 2)

    def test_a_session_opened_by_a_program_is_found_again(self, world: World) -> None:
        opened = world.intake.open_session(world.connection_id, DANA, '{"order": 7}')
        again = world.intake.open_session(world.connection_id, DANA)
        assert (opened.opened, again.opened) == (True, False)
        assert opened.session_id == again.session_id == world.hear().session_id
        session = world.session(opened.session_id)
        assert (session.context, session.message_count) == ({"order": 7}, 1)


class TestTouching:
    def test_a_customers_message_moves_the_deadline_and_raises_the_version(
        self, world: World
    ) -> None:
        session_id = world.hear().session_id
        world.let_pass(600)
        world.hear()
        session = world.session(session_id)
        assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=900)
        assert world.version_of(session_id) == 2
        assert Held(world.redis, world.member(session_id)).version == "2"

    def test_a_message_of_the_business_does_not_move_it(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(600)
        before = world.session(session_id)
        world.say()
        after = world.session(session_id)
        assert after.deadline_at == before.deadline_at
        assert after.last_customer_message_at == before.last_customer_message_at
        assert after.last_message_at > before.last_message_at
        assert after.message_count == 2

    def test_it_does_where_the_business_chose_any_message(self, world: World) -> None:
        world.set_rules(touch_on="any")
        session_id = world.hear().session_id
        world.let_pass(600)
        world.say()
        session = world.session(session_id)
        assert session.deadline_at - session.last_message_at == timedelta(seconds=900)

    def test_a_changed_gap_closes_nothing_and_applies_from_the_next_touch(
        self, world: World
    ) -> None:
        silent, touched = world.hear(contact=DANA), world.hear(contact=NOAM)
        world.let_pass(300)
        before = world.session(silent.session_id).deadline_at
        world.set_rules(idle_gap_s=60)
        world.sweeper.sweep_once()
        assert world.counted() == 2
        world.hear(contact=NOAM)
        assert world.session(silent.session_id).deadline_at == before
        session = world.session(touched.session_id)
        assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=60)

    def test_a_shortened_deadline_is_shortened_in_redis_too(self, world: World) -> None:
        session_id = world.hear().session_id
        world.set_rules(idle_gap_s=60)
        world.hear()
        held = Held(world.redis, world.member(session_id))
        assert 55_000 < world.redis.pttl(held.live_key) <= 60_000

    def test_an_overdue_session_is_closed_by_the_next_message_which_opens_another(
        self, world: World
    ) -> None:
        first = world.hear(id="a")
        world.let_pass(901)
        second = world.hear(id="b")
        assert second.opened
        assert second.session_id != first.session_id
        closed, fresh = world.session(first.session_id), world.session(second.session_id)
        assert (closed.close_reason, closed.status) == ("idle", "expired")
        assert closed.close_lateness_ms >= 1000
        assert (fresh.is_open, fresh.number) == (True, 2)
        assert world.counted_by_redis() == 1
        assert Held(world.redis, world.member(first.session_id)).version is None
        assert world.queued() == [f"summarize_{first.session_id}_1"]

    def test_one_gap_after_the_last_touch_it_is_over_to_the_microsecond(self, world: World) -> None:
        first = world.hear()
        world.run("UPDATE sessions SET deadline_at = clock_timestamp(), due_not_before = 'epoch'")
        assert world.hear().session_id != first.session_id

    def test_one_that_waits_for_the_close_of_its_session_arrives_after_it(
        self, world: World
    ) -> None:
        first = world.hear().session_id
        world.let_pass(899.5)
        with ThreadPoolExecutor(1) as pool, world.database.transaction() as db:
            db.execute(text("SELECT FROM sessions FOR UPDATE"))
            # Two at once are no plain case: those `continue_sessions` leaves to the batch.
            recording = pool.submit(world.record, world.heard(), world.heard())
            wait_until(world.waiting_for_locks, what="the batch waits for the close")
            due = text("SELECT deadline_at <= clock_timestamp() FROM sessions")
            wait_until(lambda: db.execute(due).scalar_one(), what="the session is due")
            assert sessions.close_locked(db, [first], CloseReason.IDLE)
            db.commit()
            following = recording.result()[0].session_id
        assert following != first
        assert world.session(following).started_at >= world.session(first).closed_at


class TestRedelivery:
    def test_the_same_message_five_times_more_changes_nothing(self, world: World) -> None:
        message = world.heard(id="a", customer_name="Dana")
        first = world.record(message)[0]
        world.let_pass(60)
        before = world.read("SELECT * FROM sessions")
        redelivered = replace(message, text="another text", customer_name="Mallory")
        answers = [world.record(redelivered)[0] for _ in range(5)]
        assert set(answers) == {Recorded("a", first.session_id, opened=False, duplicate=True)}
        assert world.read("SELECT * FROM sessions") == before
        assert world.texts_of(first.session_id) == [message.text]
        assert world.session(first.session_id).customer_name == "Dana"

    def test_one_redelivered_after_its_session_closed_opens_nothing(self, world: World) -> None:
        message = world.heard(id="a")
        first = world.record(message)[0]
        world.completion.complete(world.business_id, first.session_id)
        assert world.record(message)[0] == Recorded("a", first.session_id, False, True)
        assert len(world.sessions()) == 1

    def test_the_same_id_twice_in_one_batch_is_one_message(self, world: World) -> None:
        one, other = world.heard(id="a", text="first"), world.heard(id="a", text="second")
        answers = world.record(one, other)
        assert [(one.opened, one.duplicate) for one in answers] == [(True, False), (False, True)]
        assert world.texts_of(answers[0].session_id) == ["first"]
        assert world.sessions()[0].message_count == 1

    def test_the_same_id_on_another_connection_is_another_message(self, world: World) -> None:
        other = world.add_connection("2000")
        world.hear(id="a")
        assert not world.record(world.heard(id="a"), connection_id=other)[0].duplicate

    def test_a_batch_half_of_which_is_held_adds_the_other_half(self, world: World) -> None:
        world.hear("one", id="a")
        answers = world.record(world.heard("one", id="a"), world.heard("two", id="b"))
        assert [one.duplicate for one in answers] == [True, False]
        assert world.texts_of(answers[0].session_id) == ["one", "two"]

    def test_at_one_instant_from_twenty_senders_it_is_stored_once(self, world: World) -> None:
        barrier = Barrier(20)

        def deliver(contact: ContactIds) -> Recorded:
            barrier.wait()
            return world.record_in_turn(world.heard(id="a", contact=contact))[0]

        # Half of them name another customer: then only the constraint can tell.
        people = [DANA, NOAM] * 10
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(deliver, people))
        assert sum(not one.duplicate for one in answers) == 1
        assert len({one.session_id for one in answers}) == 1
        assert world.sessions()[0].message_count == 1


class TestWhatIsStored:
    def test_a_message_keeps_what_it_carried(self, world: World) -> None:
        recorded = world.hear(
            "look",
            type="image",
            media=Media(mime_type="image/jpeg", size_bytes=12),
            reply_to="earlier",
            payload="row-1",
            extra={"caption": True},
            sent_ago_s=5,
        )
        stored = world.service.transcript(world.business_id, recorded.session_id)[0]
        assert (stored.direction, stored.author, stored.type) == ("in", "customer", "image")
        assert stored.media == {"mime_type": "image/jpeg", "size_bytes": 12}
        assert (stored.reply_to, stored.payload) == ("earlier", "row-1")
        assert stored.extra == {"caption": True}
        assert stored.sent_at < stored.received_at
        assert stored.status is None

    def test_what_a_message_does_not_carry_is_null(self, world: World) -> None:
        world.hear()
        row = world.read("SELECT media IS NULL AS media, extra IS NULL AS extra FROM messages")[0]
        assert dict(row) == {"media": True, "extra": True}

    def test_own_messages_are_outgoing_with_their_author(self, world: World) -> None:
        world.hear()
        world.say(author=Author.AGENT)
        session_id = world.say(author=Author.BOT).session_id
        told = world.service.transcript(world.business_id, session_id)
        assert [(one.direction, one.author, one.status) for one in told] == [
            ("in", "customer", None),
            ("out", "agent", "sent"),
            ("out", "bot", "sent"),
        ]

    def test_the_transcript_is_in_the_order_of_sending(self, world: World) -> None:
        world.hear("second", sent_ago_s=20)
        world.hear("first", sent_ago_s=40)
        session_id = world.hear("third").session_id
        assert world.texts_of(session_id) == ["first", "second", "third"]

    def test_a_batch_sent_in_one_second_keeps_its_order(self, world: World) -> None:
        batch = [world.heard(f"{i}", sent_ago_s=5) for i in range(30)]
        same = [replace(one, sent_at=batch[0].sent_at) for one in batch]
        session_id = world.record(*same)[0].session_id
        assert world.texts_of(session_id) == [str(i) for i in range(30)]

    def test_a_customers_new_name_replaces_the_old_and_none_keeps_it(self, world: World) -> None:
        session_id = world.hear(customer_name="Dana").session_id
        world.hear(customer_name="Dana Levi")
        world.hear()
        assert world.session(session_id).customer_name == "Dana Levi"

    def test_a_batch_of_many_customers_is_answered_in_its_order(self, world: World) -> None:
        people = [ContactIds(phone=f"97250{i:07}") for i in range(40)]
        batch = [world.heard(contact=one, id=f"p{i}") for i, one in enumerate(people)]
        answers = world.record(*batch)
        assert [one.provider_message_id for one in answers] == [f"p{i}" for i in range(40)]
        assert all(one.opened for one in answers)
        assert len({one.session_id for one in answers}) == world.counted_by_redis() == 40


def change(kind: ChangeKind, target: str, text: str = "", **more: object) -> MessageChange:
    return MessageChange(
        kind=kind, target=target, text=text, **({"direction": Direction.IN} | more)
    )


def status_of(world: World) -> str | None:
    return world.read("SELECT status FROM messages WHERE direction = 'out'")[0]["status"]


class TestWhatFollowsAMessage:
    def test_an_edit_replaces_the_text_and_touches_nothing(self, world: World) -> None:
        session_id = world.hear("blu one?", id="a").session_id
        world.let_pass(60)
        before = world.read("SELECT * FROM sessions")
        world.record(change(ChangeKind.EDIT, "a", "blue one?"))
        assert world.texts_of(session_id) == ["blue one?"]
        assert world.read("SELECT * FROM sessions") == before

    def test_nobody_edits_or_revokes_what_the_other_side_wrote(self, world: World) -> None:
        session_id = world.say("the price is 100", id="a").session_id
        world.record(change(ChangeKind.EDIT, "a", "the price is 1"), change(ChangeKind.REVOKE, "a"))
        assert world.texts_of(session_id) == ["the price is 100"]

    def test_a_change_of_an_untold_side_is_that_of_whoever_wrote_the_message(
        self, world: World
    ) -> None:
        theirs = world.hear("blu one?", id="a").session_id
        ours = world.say("yess", id="b").session_id
        world.record(
            change(ChangeKind.EDIT, "a", "blue one?", direction=None),
            change(ChangeKind.EDIT, "b", "yes", direction=None),
        )
        assert theirs == ours
        assert world.texts_of(theirs) == ["blue one?", "yes"]
        world.record(change(ChangeKind.REVOKE, "b", direction=None))
        assert world.texts_of(theirs) == ["blue one?", ""]

    def test_a_revoked_message_loses_its_content_for_good(self, world: World) -> None:
        session_id = world.hear("oops", id="a", media=Media(url="https://x/y")).session_id
        world.record(change(ChangeKind.REVOKE, "a"), change(ChangeKind.EDIT, "a", "back"))
        stored = world.service.transcript(world.business_id, session_id)[0]
        assert (stored.text, stored.media, stored.extra) == ("", None, None)
        assert stored.revoked_at is not None

    def test_a_reaction_is_kept_with_each_side_and_taken_back(self, world: World) -> None:
        session_id = world.hear("thanks", id="a").session_id

        def reactions() -> object:
            return world.service.transcript(world.business_id, session_id)[0].reactions

        world.record(change(ChangeKind.REACTION, "a", "👍"))
        world.record(change(ChangeKind.REACTION, "a", "🙏", direction=Direction.OUT))
        assert reactions() == {"in": "👍", "out": "🙏"}
        world.record(change(ChangeKind.REACTION, "a", ""))
        assert reactions() == {"out": "🙏"}

    @pytest.mark.parametrize("kind", ChangeKind)
    def test_a_change_never_opens_or_touches_a_session(
        self, world: World, kind: ChangeKind
    ) -> None:
        world.record(change(kind, "unknown", "x", contact=DANA, customer_name="Dana"))
        assert world.sessions() == []
        assert world.service.contacts(world.business_id) == []

    def test_an_own_message_is_kept_as_far_as_it_had_got(self, world: World) -> None:
        world.say(id="a", status=Delivery.READ)
        world.record(DeliveryStatus(provider_message_id="a", status=Delivery.DELIVERED))
        assert status_of(world) == "read"

    def test_a_status_only_moves_forward(self, world: World) -> None:
        world.say(id="a")
        seen = []
        for status in ("delivered", "read", "sent", "delivered", "played", "failed", "pending"):
            world.record(DeliveryStatus(provider_message_id="a", status=Delivery(status)))
            seen.append(status_of(world))
        assert seen == ["delivered", "read", "read", "read", "played", "played", "played"]

    def test_what_failed_stays_failed_with_its_code(self, world: World) -> None:
        world.say(id="a")
        failed = DeliveryStatus(provider_message_id="a", status=Delivery.FAILED, error_code=131047)
        world.record(failed)
        world.record(DeliveryStatus(provider_message_id="a", status=Delivery.READ))
        row = world.read("SELECT status, error_code FROM messages")[0]
        assert (row["status"], row["error_code"]) == ("failed", 131047)

    def test_a_status_of_an_incoming_or_unknown_message_does_nothing(self, world: World) -> None:
        world.hear(id="a")
        world.record(DeliveryStatus(provider_message_id="a", status=Delivery.READ))
        world.record(DeliveryStatus(provider_message_id="zzz", status=Delivery.READ))
        assert world.read("SELECT status FROM messages")[0]["status"] is None
        assert len(world.sessions()) == 1

    def test_the_gateways_word_of_the_connection_is_kept(self, world: World) -> None:
        world.record(ConnectionUpdate(state=ConnectionState.CONNECTED, own_number="97240000001"))
        world.record(ConnectionUpdate(state=ConnectionState.LOGGED_OUT))
        shown = world.administration.connection(world.business_id, world.connection_id)
        assert (shown.status, shown.own_number) == ("logged_out", "97240000001")

    def test_a_message_and_its_changes_may_come_in_one_batch(self, world: World) -> None:
        events: list[Event] = [
            change(ChangeKind.EDIT, "a", "fixed"),
            Skipped(reason="group"),
            world.heard("broken", id="a"),
        ]
        session_id = world.record(*events)[0].session_id
        assert world.texts_of(session_id) == ["fixed"]


class TestRefusals:
    def test_an_unknown_or_deleted_connection_is_not_found(self, world: World) -> None:
        with pytest.raises(NotFound):
            world.record(world.heard(), connection_id=ConnectionId(uuid4()))
        world.administration.delete_connection(world.business_id, world.connection_id)
        with pytest.raises(NotFound):
            world.hear()
        with pytest.raises(NotFound):
            world.intake.open_session(world.connection_id, DANA)
        assert world.sessions() == []

    def test_a_batch_that_cannot_be_stored_is_not_stored_in_part(self, world: World) -> None:
        broken = world.heard(contact=NOAM, type=None)
        with pytest.raises(Exception, match="not-null"):
            world.record(world.heard(), broken)
        assert world.sessions() == []
        assert world.read("SELECT 1 FROM messages") == []
