"""One customer, several ids: found, linked, merged, and never left with two open sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.support.builders import DANA, World
from tests.support.live_sessions import Held
from tests.support.time_travel import pass_time
from tests.support.waiting import wait_until
from timer_service.errors import DatabaseBusy
from timer_service.messages import ContactIds, Delivery, DeliveryStatus, IdentityLink
from timer_service.pacer import GRACE_MS, LEASE_MS
from timer_service.records import contacts as records
from timer_service.records import sessions
from timer_service.records.session_views import Filter

LID = ContactIds(lid="111111111111111")
BSUID = ContactIds(bsuid="IL.10000000000000000001")
BOTH = ContactIds(phone=DANA.phone, lid=LID.lid)
PHONE_AND_BSUID = ContactIds(phone=DANA.phone, bsuid=BSUID.bsuid)


def only_contact(world: World) -> dict[str, object]:
    found = world.service.contacts(world.business_id)
    assert len(found) == 1
    return found[0].model_dump()


def ids_of(world: World) -> set[tuple[str, str]]:
    return {(one["kind"], one["value"]) for one in only_contact(world)["ids"]}


def tried_again(logged: list[Any]) -> list[str]:
    """Return why transactions were begun anew."""
    return [one["cause"] for one in logged if one["event"] == "intake_tried_again"]


class TestLearning:
    def test_a_phone_that_arrives_with_a_known_lid_is_the_same_customer(self, world: World) -> None:
        first = world.hear(contact=LID)
        second = world.hear(contact=BOTH)
        third = world.hear(contact=DANA)
        assert first.session_id == second.session_id == third.session_id
        assert ids_of(world) == {("phone", DANA.phone), ("lid", LID.lid)}
        assert only_contact(world)["session_count"] == 1

    def test_ids_that_first_meet_within_one_batch_are_one_customer(self, world: World) -> None:
        answers = world.record(
            world.heard(contact=LID), world.heard(contact=DANA), world.heard(contact=BOTH)
        )
        assert len({one.session_id for one in answers}) == 1
        assert [one.opened for one in answers] == [True, False, False]
        assert world.session(answers[0].session_id).message_count == 3
        assert only_contact(world)["session_count"] == 1

    def test_the_same_ids_at_another_business_are_another_customer(
        self, world: World, database_url: str, redis_url: str
    ) -> None:
        world.hear()
        business, _ = world.administration.add_business({"name": "Other"})
        assert world.service.contacts(business.id) == []

    def test_a_link_alone_makes_no_customer(self, world: World) -> None:
        world.record(IdentityLink(contact=BOTH))
        assert world.read("SELECT 1 FROM contacts") == []


class TestFormsOfANumber:
    SHORT = ContactIds(phone="551187654321")
    LONG = ContactIds(phone="5511987654321")

    @pytest.mark.parametrize(
        ("known", "comes"),
        [
            ("5511987654321", "551187654321"),
            ("551187654321", "5511987654321"),
            ("541123456789", "5491123456789"),
            ("525512345678", "5215512345678"),
            ("5215512345678", "525512345678"),
        ],
    )
    def test_another_form_of_a_known_number_is_the_same_customer(
        self, world: World, known: str, comes: str
    ) -> None:
        first = world.hear(contact=ContactIds(phone=known))
        second = world.hear(contact=ContactIds(phone=comes))
        assert (second.session_id, second.opened) == (first.session_id, False)
        assert ids_of(world) == {("phone", known), ("phone", comes)}

    def test_both_forms_in_one_batch_are_one_customer(self, world: World) -> None:
        answers = world.record(world.heard(contact=self.LONG), world.heard(contact=self.SHORT))
        assert [one.opened for one in answers] == [True, False]

    def test_an_argentine_landline_is_not_the_mobile_that_is_known(self, world: World) -> None:
        mobile = world.hear(contact=ContactIds(phone="5491123456789"))
        assert world.hear(contact=ContactIds(phone="541123456789")).opened
        assert world.session(mobile.session_id).message_count == 1

    def test_the_form_that_came_is_the_one_to_answer(self, world: World) -> None:
        world.completion.complete(world.business_id, world.hear(contact=self.SHORT).session_id)
        session = world.session(world.hear(contact=self.LONG).session_id)
        assert session.customer_wa_id == self.LONG.phone
        assert only_contact(world)["customer_wa_id"] == self.LONG.phone

    def test_two_forms_known_as_two_customers_stay_two(self, world: World) -> None:
        world.hear(contact=self.SHORT)
        stranger = world.hear(contact=LID).session_id
        # The gateway says whose the other form is: no guess of ours stands against that.
        world.record(IdentityLink(contact=ContactIds(phone=self.LONG.phone, lid=LID.lid)))
        assert world.hear(contact=self.LONG).session_id == stranger
        assert len(world.service.contacts(world.business_id)) == 2

    def test_a_link_finds_a_customer_by_another_form(self, world: World) -> None:
        first = world.hear(contact=self.SHORT)
        world.record(IdentityLink(contact=ContactIds(phone=self.LONG.phone, lid=LID.lid)))
        assert world.hear(contact=LID).session_id == first.session_id

    def test_people_look_for_a_customer_by_any_form(self, world: World) -> None:
        opened = world.hear(contact=self.SHORT).session_id
        found = world.service.sessions(world.business_id, Filter(customer=self.LONG))
        assert [one.id for one in found] == [opened]
        active = world.service.active_session_of(world.business_id, self.LONG.phone)
        assert active is not None
        assert active.id == opened

    def test_both_forms_for_the_first_time_at_once_are_one_customer(self, world: World) -> None:
        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                records.find_or_create(db, [(world.business_id, self.LONG)])
                hearing = pool.submit(world.hear, contact=self.SHORT)
                wait_until(lambda: world.waiting_for_locks() == 1, what="the other waits")
            hearing.result()
        assert ids_of(world) == {("phone", self.LONG.phone), ("phone", self.SHORT.phone)}


class TestAChangedNumber:
    NEW = ContactIds(phone="972520000009")

    def test_the_new_number_is_the_same_customer(self, world: World) -> None:
        first = world.hear(contact=DANA)
        world.record(IdentityLink(contact=self.NEW, former=DANA))
        assert world.hear(contact=self.NEW).session_id == first.session_id
        assert only_contact(world)["customer_wa_id"] == self.NEW.phone
        assert world.session(first.session_id).customer_wa_id == DANA.phone

    def test_whoever_wrote_from_the_new_number_before_we_were_told_is_merged(
        self, world: World
    ) -> None:
        first = world.hear("from the old", contact=DANA)
        world.hear("from the new", contact=self.NEW)
        world.record(IdentityLink(contact=self.NEW, former=DANA))
        assert world.texts_of(first.session_id) == ["from the old", "from the new"]
        assert world.counted_by_redis() == 1

    def test_of_a_stranger_it_makes_no_customer(self, world: World) -> None:
        world.record(IdentityLink(contact=self.NEW, former=DANA))
        assert world.read("SELECT 1 FROM contacts") == []


class TestTheIdASessionShows:
    def test_the_best_id_known_when_it_began_is_never_rewritten(self, world: World) -> None:
        session_id = world.hear(contact=LID).session_id
        world.hear(contact=BOTH)
        assert world.session(session_id).customer_wa_id == f"lid:{LID.lid}"
        assert only_contact(world)["customer_wa_id"] == DANA.phone

    def test_a_phone_known_from_before_stands_for_a_message_by_lid(self, world: World) -> None:
        old = world.hear(contact=BOTH).session_id
        world.completion.complete(world.business_id, old)
        fresh = world.session(world.hear(contact=LID).session_id)
        assert (fresh.customer_wa_id, fresh.number) == (DANA.phone, 2)

    def test_of_two_phones_the_one_written_from_counts(self, world: World) -> None:
        new_phone = ContactIds(phone="972520000009", lid=LID.lid)
        world.completion.complete(world.business_id, world.hear(contact=BOTH).session_id)
        fresh = world.session(world.hear(contact=new_phone).session_id)
        assert fresh.customer_wa_id == new_phone.phone
        assert only_contact(world)["session_count"] == 2

    def test_a_business_scoped_id_is_shown_where_nothing_else_is_known(self, world: World) -> None:
        session = world.session(world.hear(contact=BSUID).session_id)
        assert session.customer_wa_id == f"bsuid:{BSUID.bsuid}"


class TestMerging:
    def test_two_open_sessions_become_one_with_all_messages(self, world: World) -> None:
        older = world.hear("from the phone", contact=DANA, customer_name="Dana").session_id
        world.let_pass(300)
        newer = world.hear("from the lid", contact=LID).session_id
        deadline_at = world.session(newer).deadline_at
        world.record(IdentityLink(contact=BOTH))
        kept, replaced = world.session(older), world.session(newer)
        assert (kept.is_open, kept.message_count) == (True, 2)
        assert kept.deadline_at == deadline_at
        assert kept.customer_name == "Dana"
        assert (replaced.close_reason, replaced.status) == ("replaced", "expired")
        assert replaced.message_count == 0
        assert (replaced.summary.status, replaced.summary.reason) == ("skipped", "replaced")
        assert world.texts_of(older) == ["from the phone", "from the lid"]
        assert world.texts_of(newer) == []
        assert kept.contact_id == replaced.contact_id
        assert [kept.number, replaced.number] == [1, 2]
        assert world.queued() == []

    def test_redis_follows(self, world: World) -> None:
        older, newer = world.hear(contact=DANA), world.hear(contact=LID)
        assert world.counted_by_redis() == 2
        world.hear(contact=BOTH)
        assert world.counted_by_redis() == 1
        assert Held(world.redis, world.member(newer.session_id)).version is None
        held = Held(world.redis, world.member(older.session_id))
        assert held.version == str(world.version_of(older.session_id))

    def test_the_message_that_tells_lands_in_the_one_that_is_kept(self, world: World) -> None:
        older = world.hear("a", contact=DANA).session_id
        world.hear("b", contact=LID)
        told = world.hear("c", contact=BOTH)
        assert (told.session_id, told.opened) == (older, False)
        assert world.texts_of(older) == ["a", "b", "c"]

    def test_what_programs_kept_is_merged_and_the_kept_session_wins(self, world: World) -> None:
        world.intake.open_session(world.connection_id, DANA, '{"a": 1, "b": 1}')
        world.intake.open_session(world.connection_id, LID, '{"b": 2, "c": 2}')
        world.record(IdentityLink(contact=BOTH))
        assert world.sessions()[0].context == {"a": 1, "b": 1, "c": 2}

    def test_past_sessions_are_counted_anew_in_order_of_creation(self, world: World) -> None:
        made = []
        for contact in (DANA, LID, DANA, LID):
            made.append(world.hear(contact=contact).session_id)
            world.completion.complete(world.business_id, made[-1])
        last = world.hear(contact=BOTH).session_id
        assert [one.number for one in world.sessions()] == [1, 2, 3, 4, 5]
        assert [one.id for one in world.sessions()] == [*made, last]
        assert only_contact(world)["session_count"] == 5

    def test_open_sessions_on_different_connections_stay_two(self, world: World) -> None:
        other = world.add_connection("2000")
        world.hear(contact=DANA)
        world.record(world.heard(contact=LID), connection_id=other)
        world.record(IdentityLink(contact=BOTH))
        assert [one.is_open for one in world.sessions()] == [True, True]
        assert world.counted_by_redis() == 2

    def test_the_old_contacts_id_answers_the_one_it_became(self, world: World) -> None:
        world.hear(contact=DANA)
        newer = world.session(world.hear(contact=LID).session_id).contact_id
        world.hear(contact=BOTH)
        found = world.service.contact(world.business_id, newer)
        assert found.model_dump() == only_contact(world)

    def test_a_chain_of_links_in_one_batch_makes_one_customer(self, world: World) -> None:
        first = world.hear("a", contact=LID).session_id
        world.hear("b", contact=BSUID)
        world.hear("c", contact=DANA)
        world.record(
            IdentityLink(contact=PHONE_AND_BSUID),
            IdentityLink(contact=ContactIds(lid=LID.lid, bsuid=BSUID.bsuid)),
        )
        assert ids_of(world) == {
            ("phone", DANA.phone), ("lid", LID.lid), ("bsuid", BSUID.bsuid),
        }  # fmt: skip
        assert world.texts_of(first) == ["a", "b", "c"]
        assert world.counted_by_redis() == 1

    def test_merges_one_after_another_leave_one_live_session(self, world: World) -> None:
        """The session kept by the first merge is replaced by the second: it must not be armed."""
        oldest = world.hear("a", contact=BSUID)
        world.hear("b", contact=LID)
        world.hear("c", contact=DANA)
        # The contacts' age and their sessions' age need not agree.
        world.run("UPDATE contact_ids SET created_at = clock_timestamp()")
        everybody = ContactIds(phone=DANA.phone, lid=LID.lid, bsuid=BSUID.bsuid)
        world.hear("d", contact=everybody)
        assert world.counted_by_redis() == world.counted() == 1
        assert world.texts_of(oldest.session_id) == ["a", "b", "c", "d"]

    def test_a_session_kept_and_then_replaced_in_one_merge_is_not_armed(self, world: World) -> None:
        # Contacts in the order A, B, C; open sessions in the order C, B, A.
        for contact in (DANA, LID, BSUID):
            done = world.hear(contact=contact).session_id
            world.completion.complete(world.business_id, done)
        opened = [world.hear(contact=contact) for contact in (BSUID, LID, DANA)]
        world.hear(contact=ContactIds(phone=DANA.phone, lid=LID.lid, bsuid=BSUID.bsuid))
        alive = [one.id for one in world.sessions() if one.is_open]
        assert alive == [opened[0].session_id]
        assert world.counted_by_redis() == 1

    def test_an_overdue_session_ends_by_its_silence_before_contacts_are_merged(
        self, world: World
    ) -> None:
        overdue = world.hear("yesterday", contact=DANA).session_id
        world.let_pass(3600)
        alive = world.hear("today", contact=LID).session_id
        world.hear("both", contact=BOTH)
        assert world.session(overdue).close_reason == "idle"
        assert world.texts_of(overdue) == ["yesterday"]
        assert world.texts_of(alive) == ["today", "both"]
        assert world.counted_by_redis() == 1
        assert world.queued() == [f"summarize_{overdue}_1"]

    def test_a_message_that_comes_again_after_the_merge_is_the_same(self, world: World) -> None:
        older = world.hear("a", contact=DANA, id="a").session_id
        world.hear("b", contact=LID, id="b")
        world.record(IdentityLink(contact=BOTH))
        again = [world.hear("a", contact=DANA, id="a"), world.hear("b", contact=LID, id="b")]
        again.append(world.hear("b", contact=BOTH, id="b"))
        assert [(one.session_id, one.duplicate) for one in again] == [(older, True)] * 3
        assert world.session(older).message_count == 2

    def test_a_link_that_comes_again_changes_nothing(self, world: World) -> None:
        world.hear(contact=DANA)
        world.hear(contact=LID)
        world.record(IdentityLink(contact=BOTH))
        before = world.read("SELECT * FROM sessions ORDER BY id")
        world.record(IdentityLink(contact=BOTH))
        assert world.read("SELECT * FROM sessions ORDER BY id") == before

    def test_a_summary_asked_for_before_is_of_its_own_session(self, world: World) -> None:
        ended = world.hear("the first talk", contact=LID).session_id
        world.completion.complete(world.business_id, ended)
        world.hear("the second talk", contact=LID)
        world.hear("by phone", contact=DANA)
        world.record(IdentityLink(contact=BOTH))
        session = world.session(ended)
        assert (session.summary.status, session.message_count) == ("pending", 1)
        assert world.texts_of(ended) == ["the first talk"]
        assert world.queued() == [f"summarize_{ended}_1"]


class TestDiedBeforeRedisWasTold:
    """The merge is committed and its process is gone: Redis still holds both sessions."""

    @pytest.fixture
    def merged(self, world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[UUID, UUID]:
        """Give the kept and the replaced session; the replaced one had the later deadline."""
        kept = world.hear("a", contact=DANA).session_id
        pass_time(world, 300)
        replaced = world.hear("b", contact=LID).session_id
        with monkeypatch.context() as patch:
            patch.setattr(world.follow_up, "run", lambda _outcome: None)
            world.record(IdentityLink(contact=BOTH))
        assert world.session(replaced).close_reason == "replaced"
        return kept, replaced

    def test_the_timer_the_kept_one_had_does_not_close_it_early(
        self, world: World, merged: tuple[UUID, UUID]
    ) -> None:
        kept, _ = merged
        pass_time(world, 650)
        act_on_what_is_due(world)
        assert world.session(kept).is_open
        assert Held(world.redis, world.member(kept)).version == str(world.version_of(kept))
        pass_time(world, 300)
        act_on_what_is_due(world)
        assert world.session(kept).close_reason == "idle"
        assert world.queued() == [f"summarize_{kept}_1"]

    def test_the_timer_of_the_replaced_one_does_nothing(
        self, world: World, merged: tuple[UUID, UUID]
    ) -> None:
        _, replaced = merged
        before = world.session(replaced)
        pass_time(world, 1000)
        act_on_what_is_due(world)
        act_on_what_is_due(world)
        assert world.session(replaced).model_dump(include=KEPT) == before.model_dump(include=KEPT)
        assert f"summarize_{replaced}_1" not in world.queued()
        assert world.counted_by_redis() == world.counted() == 0

    def test_the_sweep_counts_one(self, world: World, merged: tuple[UUID, UUID]) -> None:
        _, replaced = merged
        pass_time(world, 2)
        world.sweeper.sweep_once()
        assert Held(world.redis, world.member(replaced)).version is None
        assert world.counted_by_redis() == world.counted() == 1


KEPT = {"state", "close_reason", "message_count"}


def act_on_what_is_due(world: World) -> None:
    """Claim and close what Redis says is due, as listeners do."""
    (paced,) = world.live_chats.pace([0], grace_ms=GRACE_MS, lease_ms=LEASE_MS, limit=100)
    world.closer.close_claimed([*paced.taken_over, *paced.lent_again])


class TestConcurrency:
    def test_forty_first_messages_of_one_customer_make_one_contact_and_one_session(
        self, world: World
    ) -> None:
        barrier = Barrier(40)

        def deliver(number: int) -> object:
            barrier.wait()
            return world.hear(str(number), id=f"c{number}").session_id

        with capture_logs() as logged, ThreadPoolExecutor(40) as pool:
            found = set(pool.map(deliver, range(40)))
        assert len(found) == 1
        assert tried_again(logged) == []
        session = world.sessions()[0]
        assert (session.number, session.message_count) == (1, 40)
        assert only_contact(world)["session_count"] == 1
        assert world.counted_by_redis() == 1

    def test_opposite_batches_of_many_customers_do_not_deadlock(self, world: World) -> None:
        people = [ContactIds(phone=f"97250{i:07}") for i in range(150)]
        barrier = Barrier(6)

        def deliver(number: int) -> int:
            ordered = people if number % 2 else people[::-1]
            barrier.wait()
            batch = [world.heard(contact=one, id=f"{number}-{one.phone}") for one in ordered]
            return sum(one.opened for one in world.record_in_turn(*batch))

        with capture_logs() as logged:
            with ThreadPoolExecutor(6) as pool:
                assert sum(pool.map(deliver, range(6))) == 150
            with ThreadPoolExecutor(6) as pool:
                assert sum(pool.map(lambda n: deliver(n + 6), range(6))) == 0
        assert tried_again(logged) == []
        assert {one.message_count for one in world.sessions()} == {12}
        assert world.counted_by_redis() == 150

    def test_new_ids_are_locked_in_one_order_whoever_names_them_first(self, world: World) -> None:
        def key_of(person: records.Person) -> int:
            return records._lock_key(records.ids_of(person)[0])

        people = sorted([(world.business_id, DANA), (world.business_id, LID)], key=key_of)
        first, second = map(key_of, people)

        def find_the_other_way_round() -> None:
            with world.database.transaction() as db:
                records.find_or_create(db, people[::-1])

        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": first})
                finding = pool.submit(find_the_other_way_round)
                wait_until(lambda: world.waiting_for_locks() == 1, what="the other waits")
                try_lock = text("SELECT pg_try_advisory_xact_lock(:key)")
                is_free = db.execute(try_lock, {"key": second}).scalar_one()
            finding.result()
        assert is_free

    def test_contacts_are_locked_in_one_order_however_they_lie(self, world: World) -> None:
        world.hear(contact=DANA)
        world.hear(contact=LID)
        first, second = (row["id"] for row in world.read("SELECT id FROM contacts ORDER BY id"))
        world.run("UPDATE contacts SET name = 'Dana' WHERE id = :id", id=first)  # behind the other

        def lock_both() -> None:
            with world.database.transaction() as db:
                for scan in ("indexscan", "bitmapscan"):
                    db.execute(text(f"SET LOCAL enable_{scan} = off"))
                records.lock(db, [second, first])

        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                db.execute(text("SELECT 1 FROM contacts WHERE id = :id FOR UPDATE"), {"id": first})
                locking = pool.submit(lock_both)
                wait_until(lambda: world.waiting_for_locks() == 1, what="the other waits")
                take = text("SELECT id FROM contacts WHERE id = :id FOR UPDATE SKIP LOCKED")
                free = db.execute(take, {"id": second}).all()
            locking.result()
        assert len(free) == 1

    def test_merges_and_messages_at_once_leave_one_open_session(self, world: World) -> None:
        world.hear(contact=DANA)
        world.hear(contact=LID)
        barrier = Barrier(12)

        def deliver(number: int) -> None:
            barrier.wait()
            world.hear(contact=(DANA, LID, BOTH)[number % 3], id=f"x{number}")

        with capture_logs() as logged, ThreadPoolExecutor(12) as pool:
            list(pool.map(deliver, range(12)))
        assert set(tried_again(logged)) <= {"ContactsMoved"}
        opened = [one for one in world.sessions() if one.is_open]
        assert [one.message_count for one in opened] == [14]
        assert world.counted_by_redis() == 1

    def test_the_same_mapping_twice_at_once_merges_once(self, world: World) -> None:
        pairs = [
            (ContactIds(phone=f"9725000010{n:02}"), ContactIds(lid=f"8800000000{n:02}"))
            for n in range(4)
        ]
        for phone, lid in pairs:
            world.hear(contact=phone)
            world.hear(contact=lid)
        links = [
            IdentityLink(contact=ContactIds(phone=phone.phone, lid=lid.lid)) for phone, lid in pairs
        ]
        barrier = Barrier(3)

        def deliver(number: int) -> None:
            barrier.wait()
            told = False
            while not told:  # as gateways do
                with suppress(DatabaseBusy):
                    world.record(*(links[::-1] if number % 2 else links))
                    told = True

        with capture_logs() as logged, ThreadPoolExecutor(3) as pool:
            list(pool.map(deliver, range(3)))
        assert set(tried_again(logged)) <= {"ContactsMoved"}
        found = world.sessions()
        assert [one.message_count for one in found if one.is_open] == [2] * 4
        assert [one.close_reason for one in found if not one.is_open] == ["replaced"] * 4
        assert world.counted_by_redis() == world.counted() == 4
        assert (
            world.read(
                "SELECT 1 FROM contacts a JOIN contacts b ON a.merged_into = b.id "
                "WHERE b.merged_into IS NOT NULL"
            )
            == []
        )

    def test_statuses_and_a_merge_at_once_do_not_deadlock(self, world: World) -> None:
        world.hear(contact=DANA)
        for number in range(40):
            world.say(contact=LID, id=f"s{number}")
        statuses = [
            DeliveryStatus(provider_message_id=f"s{number}", status=Delivery.READ)
            for number in range(40)
        ]
        barrier = Barrier(5)

        def deliver(number: int) -> None:
            barrier.wait()
            if number == 0:
                world.record(IdentityLink(contact=BOTH))
            else:
                world.record(*(statuses[::-1] if number % 2 else statuses))

        with capture_logs() as logged, ThreadPoolExecutor(5) as pool:
            list(pool.map(deliver, range(5)))
        assert tried_again(logged) == []
        (kept,) = [one for one in world.sessions() if one.is_open]
        assert kept.message_count == 41
        unread = world.read("SELECT 1 FROM messages WHERE direction = 'out' AND status <> 'read'")
        assert unread == []

    def test_an_id_given_to_a_contact_just_merged_away_follows_it(self, world: World) -> None:
        """A learns Dana's bsuid while B, not yet committed, merges Dana into an older contact."""
        world.hear(contact=LID)
        world.hear(contact=DANA)
        contacts = [row["id"] for row in world.read("SELECT id FROM contacts ORDER BY id")]
        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                assert records.lock(db, contacts)
                sessions.join_open(db, *contacts)
                records.merge(db, records.Merge(keeper=contacts[0], merged=contacts[1]))
                learning = pool.submit(world.hear, contact=PHONE_AND_BSUID)
                wait_until(lambda: world.waiting_for_locks() == 1, what="the other waits")
            assert not learning.result().opened
        assert ids_of(world) == {
            ("phone", DANA.phone), ("lid", LID.lid), ("bsuid", BSUID.bsuid),
        }  # fmt: skip
