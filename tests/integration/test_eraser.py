"""What is erased is out of everybody's sight at once, and out of the tables in small steps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from threading import Event, Thread
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.support.builders import DANA, NOAM, World
from tests.support.live_sessions import Held
from tests.support.waiting import wait_until
from timer_service import administration, eraser
from timer_service.eraser import Eraser
from timer_service.errors import DatabaseUnavailable, NotFound
from timer_service.ids import BusinessId
from timer_service.messages import ContactIds, IdentityLink, ProviderName
from timer_service.records import callbacks, duties, erasing, summaries

TABLES = (
    *("businesses", "api_keys", "connections", "contacts", "contact_ids", "sessions", "messages"),
    *("summaries", "callback_runs"),
)
KEPT_FOR = timedelta(days=30)
A_DAY_S = 86_400


@pytest.fixture
def marked(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a world of which all is still there, but for everybody it is erased."""
    monkeypatch.setattr(administration, "ERASE_AT_ONCE_S", 0)
    fill(world)
    world.administration.erase_business(world.business_id)
    return world


def fill(world: World) -> None:
    """Have an open session, closed ones, and two contacts that turned out to be one."""
    world.service.on_closed("json.dumps")
    for number in range(3):
        world.service.complete(world.hear(contact=ContactIds(phone=f"97251{number}")).session_id)
    world.hear(contact=DANA)
    world.hear(contact=ContactIds(lid="5"))
    world.record(IdentityLink(contact=ContactIds(phone=DANA.phone, lid="5")))
    world.hear(contact=NOAM)


def rows_left(world: World) -> dict[str, int]:
    counted = {table: world.read(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES}
    return {table: count for table, count in counted.items() if count}


def erase_all(world: World) -> int:
    """Take every step there is; return how many."""
    steps = 0
    while world.eraser.erase_once():
        steps += 1
        assert steps < 1000
    return steps


def test_an_erased_business_is_gone_from_every_read_while_its_rows_are_there(
    marked: World,
) -> None:
    world, service, owner = marked, marked.service, marked.business_id
    (session_id, *_) = [row["id"] for row in world.read("SELECT id FROM sessions ORDER BY id")]
    (contact_id, *_) = [row["id"] for row in world.read("SELECT id FROM contacts ORDER BY id")]
    assert world.keys.who_has(world.manager_key) is None
    assert world.keys.keys_of(owner, before=None, limit=9) == []
    assert world.administration.list_businesses(before=None, limit=9) == []
    assert world.administration.list_connections(owner, before=None, limit=9) == []
    assert service.sessions(owner) == service.active_sessions(owner) == []
    assert service.contacts(owner) == []
    assert service.business_of_session(session_id) is None
    assert service.active_session_of(owner, str(DANA.phone)) is None
    for ask in (
        lambda: world.administration.business(owner),
        lambda: world.administration.change_business(owner, {"name": "x"}),
        lambda: world.administration.erase_business(owner),
        lambda: service.session(owner, session_id),
        lambda: service.transcript(owner, session_id),
        lambda: service.complete(session_id),
        lambda: service.contact(owner, contact_id),
        world.hear,
    ):
        with pytest.raises(NotFound):
            ask()
    assert rows_left(world)["sessions"] == 6


def test_its_account_can_be_connected_by_another_at_once(marked: World) -> None:
    business, _ = marked.administration.add_business({"name": "Next"})
    marked.administration.add_connection(
        BusinessId(business.id),
        provider=ProviderName.META,
        external_id=f"number-of-{marked.business_id}",
        secrets={"app_secret": "theirs"},
    )


def test_nothing_of_it_is_sent_to_a_model_or_a_callback_any_more(marked: World) -> None:
    closed = marked.read("SELECT id, summary_attempt FROM sessions WHERE state = 'closed'")
    runs = marked.read("SELECT session_id, callback_id FROM callback_runs")
    lease = timedelta(seconds=1)
    assert closed
    assert runs
    with marked.database.transaction() as db:
        for row in closed:
            assert summaries.start(db, row["id"], row["summary_attempt"], lease=lease) is None
        for row in runs:
            started = callbacks.start(db, row["session_id"], row["callback_id"], 1, lease=lease)
            assert started is None


def test_step_by_step_all_of_it_goes_and_nothing_of_another(
    marked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eraser, "MOST_SESSIONS", 2)
    monkeypatch.setattr(eraser, "MOST_CONTACTS", 2)
    with World(marked.database_url, marked.redis_url) as other:
        other.hear()
        before = rows_left(other)
        assert erase_all(marked) > 5
        left = rows_left(other)
    assert {name: count - left.get(name, 0) for name, count in before.items()} == {
        "businesses": 1, "connections": 1, "contacts": 6, "contact_ids": 6, "sessions": 6,
        "messages": 6, "callback_runs": 3, "api_keys": 0,
    }  # fmt: skip


def test_the_open_sessions_are_counted_no_more(marked: World) -> None:
    opened = [row["id"] for row in marked.read("SELECT id FROM sessions WHERE state = 'open'")]
    held = [Held(marked.redis, marked.member(one)) for one in opened]
    assert all(one.version for one in held)
    erase_all(marked)
    assert [(one.version, one.deadline_ms) for one in held] == [(None, None)] * len(held)
    assert rows_left(marked) == {}


def test_a_small_business_is_gone_when_the_call_returns(world: World) -> None:
    fill(world)
    world.administration.erase_business(world.business_id)
    assert rows_left(world) == {}
    assert world.counted_by_redis() == 0


def test_each_step_may_be_its_process_last(marked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eraser, "MOST_SESSIONS", 1)
    for _ in range(100):
        marked.eraser = Eraser(marked.database, marked.follow_up)
        more = marked.eraser.erase_once()
        marked.run("DELETE FROM duties")
        if not more:
            break
    assert rows_left(marked) == {}


def test_a_session_with_very_many_messages_goes_in_several_steps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "ERASE_AT_ONCE_S", 0)
    monkeypatch.setattr(eraser, "MOST_MESSAGES", 3)
    world.record(*[world.heard() for _ in range(10)])
    world.hear(contact=NOAM)
    world.administration.erase_business(world.business_id)
    left = [11]
    while rows_left(world).get("messages"):
        assert world.eraser.erase_once()
        left.append(rows_left(world).get("messages", 0))
    assert max(before - after for before, after in pairwise(left)) <= 3
    erase_all(world)
    assert rows_left(world) == {}


def test_what_somebody_holds_is_not_waited_for_and_goes_last(
    marked: World,
) -> None:
    (first, *_) = marked.read("SELECT id FROM sessions ORDER BY started_at, id")
    with marked.database.transaction() as db:
        db.execute(text("SELECT 1 FROM sessions WHERE id = :id FOR NO KEY UPDATE"), first)
        assert marked.eraser.erase_once()
        assert rows_left(marked)["sessions"] == 1
    erase_all(marked)
    assert rows_left(marked) == {}


def test_what_is_stored_at_the_last_moment_goes_too(marked: World) -> None:
    """A message taken in by a transaction that began before the business was erased."""
    while rows_left(marked).get("contacts"):
        marked.eraser.erase_once()
    with ThreadPoolExecutor(1) as pool, marked.database.transaction() as db:
        contact_id, session_id = UUID(int=1), UUID(int=2)
        who = {"business": marked.business_id, "contact": contact_id, "session": session_id}
        for statement in (
            "INSERT INTO contacts (id, business_id) VALUES (:contact, :business)",
            """INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id,
                 number, state, version, started_at, last_touch_at, deadline_at)
               SELECT :session, :business, id, :contact, 'x', 1, 'open', 1, now(), now(), now()
               FROM connections""",
            """INSERT INTO messages (id, business_id, connection_id, session_id,
                 provider_message_id, direction, author, type, received_at, placed_at)
               SELECT :session, :business, connection_id, id, 'last', 'in', 'customer', 'text',
                 now(), now() FROM sessions WHERE id = :session""",
        ):
            db.execute(text(statement), who)
        erasing_all = pool.submit(erase_all, marked)
        wait_until(lambda: marked.waiting_for_locks() == 1, what="it waits for the message")
        db.commit()
        erasing_all.result()
    assert rows_left(marked) == {}


def test_one_process_at_a_time_erases(marked: World) -> None:
    with marked.database.transaction() as db:
        assert duties.take(db, "erase", UUID(int=1), lease=timedelta(minutes=1))
    assert not marked.eraser.erase_once()
    marked.run("UPDATE duties SET ends_at = clock_timestamp()")
    assert marked.eraser.erase_once()


def test_the_thread_outlives_its_failures(marked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([DatabaseUnavailable("away"), ValueError("a fault of ours")])
    erase_once = marked.eraser.erase_once
    stop = Event()

    def fail_twice() -> bool:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return erase_once()

    monkeypatch.setattr(marked.eraser, "erase_once", fail_twice)
    monkeypatch.setattr(eraser, "LOOK_EVERY_S", 0.01)
    thread = Thread(target=marked.eraser.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: rows_left(marked) == {}, what="all is erased")
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


class TestRetention:
    @pytest.fixture
    def world(self, world: World) -> World:
        world.eraser = Eraser(world.database, world.follow_up, kept_for=KEPT_FOR)
        return world

    def test_what_closed_longer_ago_goes_with_all_that_hangs_on_it(self, world: World) -> None:
        world.service.on_closed("json.dumps")
        old = world.hear("long ago", contact=DANA).session_id
        world.service.complete(old)
        world.let_pass(31 * A_DAY_S)
        recent = world.hear("lately", contact=DANA).session_id
        world.service.complete(recent)
        world.let_pass(29 * A_DAY_S)
        still_open = world.hear(contact=NOAM).session_id
        erase_all(world)
        assert [one.id for one in world.sessions()] == [recent, still_open]
        assert world.texts_of(recent) == ["lately"]
        left = rows_left(world)
        assert (left["messages"], left["callback_runs"], left["contacts"]) == (2, 1, 2)

    def test_without_a_period_everything_is_kept(self, world: World) -> None:
        world.service.complete(world.hear().session_id)
        world.let_pass(10_000 * A_DAY_S)
        assert not Eraser(world.database, world.follow_up).erase_once()
        assert rows_left(world)["sessions"] == 1

    def test_an_open_session_is_kept_however_old(self, world: World) -> None:
        world.hear()
        world.let_pass(100 * A_DAY_S)
        assert not world.eraser.erase_once()
        assert rows_left(world)["sessions"] == 1

    def test_what_somebody_holds_goes_the_next_time(self, world: World) -> None:
        for contact in (DANA, NOAM):
            world.service.complete(world.hear(contact=contact).session_id)
        world.let_pass(31 * A_DAY_S)
        first = world.sessions()[0].id
        with world.database.transaction() as db:
            db.execute(
                text("SELECT 1 FROM sessions WHERE id = :id FOR NO KEY UPDATE"), {"id": first}
            )
            erase_all(world)
            assert [one.id for one in world.sessions()] == [first]
        erase_all(world)
        assert world.sessions() == []

    def test_a_message_that_comes_again_after_its_session_went_opens_no_session(
        self, world: World
    ) -> None:
        """It counts when it was sent: a session closed at birth, kept as long as any other."""
        message = world.heard("again and again", sent_ago_s=5, id="wamid.1")
        gone = world.record(message)[0].session_id
        world.service.complete(gone)
        world.let_pass(31 * A_DAY_S)
        erase_all(world)
        again = world.record(world.heard("again and again", sent_ago_s=31 * A_DAY_S, id="wamid.1"))[
            0
        ]
        assert not again.duplicate
        session = world.session(again.session_id)
        assert (session.is_open, session.close_reason) == (False, "recovered")
        assert world.counted() == 0
        world.let_pass(31 * A_DAY_S)
        erase_all(world)
        assert world.sessions() == []


def test_marking_twice_is_not_there(marked: World) -> None:
    with marked.database.transaction() as db:
        assert not erasing.mark_business(db, marked.business_id)
