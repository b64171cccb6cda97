"""While something waits in a spool, only what must not overtake it queues behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from werkzeug.exceptions import ServiceUnavailable

from tests.support.builders import DANA, NOAM, World
from tests.support.front import Front
from tests.support.spool_host import Host, texts_by_session
from tests.support.waiting import wait_until
from timer_service.circuit import Circuit
from timer_service.database import PAUSE_S, Database
from timer_service.errors import DatabaseBusy
from timer_service.ids import ConnectionId
from timer_service.intake_batch import Recorded
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    IdentityLink,
    MessageChange,
)
from timer_service.messages import Event as ChatEvent

GAP_S = 60
HEARD_WITHIN = "timer_service.spool_replay.HEARD_WITHIN_S"
DANAS_LID = ContactIds(lid="111111111111111")


@pytest.fixture
def host(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Give a host that has just heard of Postgres, on however slow a machine."""
    monkeypatch.setattr(HEARD_WITHIN, 60.0)
    world.set_rules(idle_gap_s=GAP_S)
    host = Host(world, tmp_path / "spool")
    yield host
    host.spool.close()


def test_a_customer_of_whom_something_waits_queues_until_it_is_replayed(
    world: World, host: Host
) -> None:
    host.hear("one", 30)
    assert not host.deliver(world.heard("two"))
    assert not host.deliver(world.said("three"))
    assert texts_by_session(world) == []
    assert host.replay() == 3
    assert host.deliver(world.heard("four"))
    assert texts_by_session(world) == [["one", "two", "three", "four"]]


def test_anybody_else_is_stored_at_once_and_their_overdue_session_is_closed(
    world: World, host: Host
) -> None:
    ended = world.hear("noam's first visit", contact=NOAM).session_id
    world.hear("dana's visit")
    world.let_pass(GAP_S + 10)
    host.hear("and still dana's", 40)
    host.announce()
    assert host.deliver(world.heard("noam's second visit", contact=NOAM))
    assert texts_by_session(world) == [
        ["noam's first visit"],
        ["dana's visit"],
        ["noam's second visit"],
    ]
    assert world.session(ended).close_reason == "idle"
    host.replay()
    assert ["dana's visit", "and still dana's"] in texts_by_session(world)


def test_a_webhook_of_several_customers_queues_as_a_whole_if_one_of_them_must(
    world: World, host: Host
) -> None:
    host.hear("one", 30)
    assert not host.deliver(world.heard("new", contact=NOAM), world.heard("two"))
    assert not host.deliver(world.heard("newer", contact=NOAM))
    host.replay()
    assert texts_by_session(world) == [["one", "two"], ["new", "newer"]]


def test_who_is_known_to_postgres_by_another_kind_of_id_queues_too(
    world: World, host: Host
) -> None:
    world.hear("zero", contact=ContactIds(phone=DANA.phone, lid=DANAS_LID.lid))
    world.let_pass(GAP_S + 10)
    host.hear("one", 40, DANAS_LID)
    assert not host.deliver(world.heard("two"))
    host.replay()
    assert texts_by_session(world) == [["zero", "one", "two"]]


def test_a_link_of_two_ids_waits_for_what_either_of_them_sent(world: World, host: Host) -> None:
    world.hear("by lid", contact=DANAS_LID)
    world.let_pass(GAP_S + 10)
    host.hear("still by lid", 40, DANAS_LID)
    assert not host.deliver(
        IdentityLink(contact=ContactIds(phone=DANA.phone, lid=DANAS_LID.lid)), world.heard("both")
    )
    host.replay()
    assert texts_by_session(world) == [["by lid", "still by lid", "both"]]


def test_a_merge_past_the_spool_closes_nothing_that_waits_in_it(world: World, host: Host) -> None:
    """What waits came in by another number of the business than what merges its customer."""
    world.hear("here")
    world.hear("here by lid", contact=DANAS_LID)
    world.let_pass(GAP_S + 10)
    host.hear("still here", 40)
    other = world.add_connection("another-number")
    both = ContactIds(phone=DANA.phone, lid=DANAS_LID.lid)
    assert host.deliver(world.heard("there", contact=both), connection_id=other)
    host.replay()
    texts = [some for some in texts_by_session(world) if some]
    assert sorted(texts) == [["here", "here by lid", "still here"], ["there"]]


def test_a_status_waits_for_its_message_and_the_later_edit_counts(world: World, host: Host) -> None:
    host.receive(30, world.said("as sent", id="ours"))
    read = DeliveryStatus(provider_message_id="ours", status=Delivery.READ, contact=NOAM)
    assert not host.deliver(read)
    assert not host.deliver(edit("first edit"))
    assert not host.deliver(edit("second edit"))
    host.replay()
    (message,) = world.read("SELECT text, status FROM messages")
    assert tuple(message.values()) == ("second edit", "read")


def edit(text: str) -> MessageChange:
    return MessageChange(kind=ChangeKind.EDIT, direction=Direction.OUT, target="ours", text=text)


def test_where_nothing_was_heard_of_postgres_nobody_asks_it(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.hear("one", 30)
    monkeypatch.setattr(host.intake, "record", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(HEARD_WITHIN, 0.0)
        assert not host.deliver(world.heard("two", contact=NOAM))


def refuse(*_: object) -> NoReturn:
    raise AssertionError("Postgres was asked")


def test_during_an_outage_nobody_asks_postgres_once_something_waits_and_its_answers_are_old(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        front.postgres.blackhole()
        assert front.post(front.meta("first")).status == 200
        keeper = front.services.spool_keeper
        wait_until(lambda: not keeper._hears_postgres(), what="its answers are old")
        with monkeypatch.context() as patch:
            patch.setattr(front.services.intake, "record", refuse)
            for number in range(3):
                posts = [front.meta(f"{number}", sender=f"97250000{number:04}")]
                assert [one.status for one in front.post_together(posts)] == [200]
                front.keep()
        front.postgres.pass_all()
        front.drain()
        assert set(front.texts()) == {"warm", "first", "0", "1", "2"}


def test_where_postgres_answers_and_stores_nothing_one_finds_out_for_all(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    asked: list[ContactIds] = []
    record = host.intake.record

    def note(connection_id: ConnectionId, events: Sequence[ChatEvent]) -> list[Recorded]:
        asked.append(people[-1])
        return record(connection_id, events)

    def deliver_of_another() -> bool:
        people.append(ContactIds(phone=f"97250111{len(people):04}"))
        return host.deliver(world.heard(contact=people[-1]))

    people: list[ContactIds] = []
    host.keeper._bypass = Circuit(PAUSE_S, lambda: now_s)
    host.hear("one", 30)
    with (
        closing(Database.for_requests(world.database_url)) as database,
        closing(psycopg.connect(world.database_url)) as db,
        monkeypatch.context() as patch,
    ):
        patch.setattr(host.intake, "record", note)
        patch.setattr(host.intake, "_database", database)
        db.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        assert [deliver_of_another() for _ in range(3)] == [False, False, False]
        assert asked == people[:1]
        db.rollback()
        now_s += PAUSE_S
        assert [deliver_of_another() for _ in range(3)] == [True, True, True]


def test_who_has_no_turn_is_spooled_only_where_something_waits_already(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_busy(*_: object) -> NoReturn:
        raise DatabaseBusy("no turn")

    monkeypatch.setattr(host.intake, "record", is_busy)
    with pytest.raises(ServiceUnavailable):
        host.deliver(world.heard("one"))
    assert not host.spool.is_waiting
    host.hear("two", 30)
    assert not host.deliver(world.heard("three", contact=NOAM))
