"""Every query of the hot path and of the sweep uses an index, however many rows there are.

The real functions run; each statement they sent is then explained with its own parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, event, text

from tests.support.builders import DANA, NOAM, World
from timer_service.clock import utc_now
from timer_service.ids import new_id
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    IdentityLink,
    MessageChange,
)
from timer_service.records import (
    activity,
    callbacks,
    contacts,
    early_changes,
    erasing,
    messages,
    notes,
    search,
    sends,
    session_sweeps,
    session_views,
    sessions,
    summaries,
    tasks,
)
from timer_service.records.search import Words
from timer_service.records.session_views import Filter
from timer_service.records.tasks import TaskFilter

BIG = {
    "sessions", "messages", "contacts", "contact_ids", "summaries", "callback_runs", "sends",
    "notes", "tasks",
}  # fmt: skip
"""Not `session_words`: so few of them are read whole sooner; `bench pages` has a million."""

_FILL = """
    SET LOCAL session_replication_role = replica;
    INSERT INTO contacts (id, business_id, session_count)
      SELECT gen_random_uuid(), :business_id, 1 FROM generate_series(1, 5000);
    INSERT INTO contact_ids (business_id, kind, value, contact_id)
      SELECT business_id, 'phone', '9727' || row_number() OVER (), id FROM contacts;
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number,
      state, version, created_at, started_at, last_message_at, last_touch_at, deadline_at,
      closed_at, close_reason, summary_status, next_check_at)
      SELECT gen_random_uuid(), :business_id, :connection_id, k.id, 'x', n,
        CASE WHEN n = 4 THEN 'open' ELSE 'closed' END, 1, at, at, at, at,
        at + interval '15 min', CASE WHEN n < 4 THEN at + interval '15 min' END,
        CASE WHEN n < 4 THEN 'idle' END, CASE WHEN n < 4 THEN 'done' END, NULL
      FROM (SELECT id, row_number() OVER () AS nth FROM contacts) k
        CROSS JOIN generate_series(1, 4) n,
        LATERAL (SELECT clock_timestamp() - make_interval(days => (40 - 10 * n)::int)
          + make_interval(secs => k.nth * CASE WHEN n = 4 THEN 1 ELSE 100 END) AS at) t;
    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, received_at, placed_at)
      SELECT gen_random_uuid(), business_id, connection_id, id, id || '-' || n, 'in', 'customer',
        'text', started_at, started_at
      FROM sessions CROSS JOIN generate_series(1, 2) n;
    INSERT INTO summaries (session_id, business_id, attempt, summarizer, title, text, language,
      sentiment, message_ids)
      SELECT id, business_id, 1, 'extractive', 't', 't', 'en', 'neutral', '{}'
      FROM sessions WHERE state = 'closed';
    INSERT INTO callback_runs (session_id, callback_id, done_at)
      SELECT s.id, c.id, clock_timestamp() FROM sessions s CROSS JOIN close_callbacks c
      WHERE s.state = 'closed';
    INSERT INTO session_words (session_id, business_id, started_at, words)
      SELECT id, business_id, started_at,
        to_tsvector('simple', 'w' || id) || array_to_tsvector(ARRAY[business_id::text])
      FROM sessions WHERE state = 'closed';
    INSERT INTO notes (id, business_id, contact_id, text, author)
      SELECT gen_random_uuid(), business_id, id, 'x', 'Maya' FROM contacts;
    INSERT INTO tasks (id, business_id, contact_id, text, author, due_at, done_at)
      SELECT gen_random_uuid(), business_id, id, 'x', 'Maya', clock_timestamp(),
        CASE WHEN random() < 0.5 THEN clock_timestamp() END FROM contacts;
    INSERT INTO sends (message_id, business_id, client_ref, recipient)
      SELECT id, business_id, id, '1' FROM messages;
    ANALYZE
"""


@pytest.fixture(scope="module")
def full(postgres_server: Any, redis_server: Any) -> Iterator[World]:
    """Give a world with 20,000 sessions, a quarter of them open, and 40,000 messages."""
    url = postgres_server.make_database()
    redis_server.make_new()
    with World(url, redis_server.url) as world:
        world.run("INSERT INTO close_callbacks (id, path) VALUES (:id, 'a.b')", id=uuid4())
        owner = {"business_id": world.business_id, "connection_id": world.connection_id}
        with world.database.transaction() as db:
            for statement in _FILL.split(";"):
                db.execute(text(statement), owner)
        yield world
    postgres_server.drop_database(url)


@contextmanager
def statements_of(world: World) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is sent to Postgres, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(
        _: Connection, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool
    ) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            seen.append((statement, parameters[0] if executemany else parameters))

    event.listen(world.database._engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(world.database._engine, "before_cursor_execute", note)


def scanned_whole(plan: dict[str, Any]) -> Iterator[str]:
    """Name the tables a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scanned_whole(part)


def offenders(world: World, seen: Sequence[tuple[str, Any]]) -> list[tuple[set[str], str]]:
    found = []
    for statement, parameters in seen:
        with world.database.transaction() as db:
            explained = db.connection.cursor().execute(  # type: ignore[union-attr]
                f"EXPLAIN (FORMAT JSON) {statement}", parameters
            )
            plan = explained.fetchone()[0][0]["Plan"]
            db.rollback()
        whole = BIG & set(scanned_whole(plan))
        if whole:
            found.append((whole, statement))
    return found


def a_session(world: World) -> UUID:
    return world.hear(contact=NOAM).session_id


def in_transaction(work: Callable[[World, Connection], object]) -> Callable[[World], object]:
    def run(world: World) -> object:
        with world.database.transaction() as db:
            return work(world, db)

    return run


def merge_two(world: World) -> None:
    one, other = (ContactIds(phone=f"97290{uuid4().int % 10**8}") for _ in range(2))
    lid = str(uuid4().int % 10**12)
    world.hear(contact=one)
    world.hear(contact=ContactIds(lid=lid))
    world.record(IdentityLink(contact=ContactIds(phone=one.phone, lid=lid)))
    world.hear(contact=other)


def change_messages(world: World) -> None:
    world.say(id=(name := str(uuid4())))
    for kind in ChangeKind:
        world.record(MessageChange(kind=kind, direction=Direction.OUT, target=name, text="x"))
    for status in (Delivery.READ, Delivery.FAILED):
        world.record(DeliveryStatus(provider_message_id=name, status=status))


def change_before_it_comes(world: World) -> None:
    name = str(uuid4())
    world.record(MessageChange(kind=ChangeKind.EDIT, direction=Direction.IN, target=name, text="x"))
    world.hear(id=name)
    assert world.sweeper.apply_early_changes_once() == 1
    with world.database.transaction() as db:
        early_changes.delete_old(db, limit=1000)


def tell_before_it_comes(world: World) -> None:
    name = str(uuid4())
    for status in (Delivery.SENT, Delivery.READ):
        world.record(DeliveryStatus(provider_message_id=name, status=status))
    world.say(id=name)
    assert world.sweeper.apply_early_changes_once() == 1


def restart_summaries(world: World) -> None:
    session_id = world.hear(contact=NOAM).session_id
    world.service.complete(session_id)
    world.run("UPDATE sessions SET next_check_at = clock_timestamp() WHERE id = :id", id=session_id)
    world.queue_redis.flushdb()
    assert world.sweeper.restart_summaries_once() == 1


def summarise(world: World, db: Connection) -> None:
    session_id = world.hear(contact=NOAM).session_id
    world.service.complete(session_id)
    row = summaries.start(db, session_id, 1, lease=timedelta(seconds=1))
    assert row is not None
    messages.of_session(db, session_id, world.business_id)
    assert summaries.finish(db, session_id, 1, summaries.SummaryStatus.SKIPPED)


HOT_PATH: dict[str, Callable[[World], object]] = {
    "a message": lambda world: world.hear(customer_name="Dana"),
    "a late message": lambda world: world.hear(sent_ago_s=5000),
    "a batch": lambda world: world.record(
        *[world.heard(contact=ContactIds(phone=f"9728{i}")) for i in range(5)]
    ),
    "a merge": merge_two,
    "what follows a message": change_messages,
    "opening a session": lambda world: world.intake.open_session(world.connection_id, DANA),
    "completing": lambda world: world.service.complete(world.hear(contact=NOAM).session_id),
    "closing": lambda world: world.closer.close_claimed(
        [world.member(a_session(world)) for _ in range(5)]
    ),
    "counting": in_transaction(lambda world, db: sessions.count_active(db, world.business_id)),
    "summarising": in_transaction(summarise),
}


def look_at_a_send(world: World, db: Connection) -> None:
    message_id = new_id()
    sends.find_by_ref(db, world.business_id, "order-1")
    sends.get(db, world.business_id, message_id)
    sends.read_turn(db, message_id, 1)
    sends.start(db, message_id, 1, lease=timedelta(seconds=40))
    sends.is_window_open(db, world.business_id, world.connection_id, DANA)
    sends._echo_like(db, message_id)
    sends._echo_named(db, message_id, "x")
    messages.get(db, world.business_id, message_id)


def look_for(world: World, db: Connection) -> None:
    for which in (
        Filter(text="blue one"),
        Filter(text="0501234567"),
        Filter(text="blue", provider="meta", state="closed"),
        Filter(summary="waiting"),
        Filter(follow_up=True),
        Filter(contact_id=new_id()),
        Filter(after=(utc_now() - timedelta(days=20), uuid4())),
    ):
        search.list_page(db, world.business_id, which)
    search.find_contacts(db, world.business_id, Words(("dana",)), ["4321"], limit=50)


def read_notes(world: World, db: Connection) -> None:
    contacts.get(db, world.business_id, new_id())
    notes.list_page(db, world.business_id, new_id(), before=new_id(), limit=50)
    tasks.list_page(db, world.business_id, TaskFilter())
    tasks.list_page(db, world.business_id, TaskFilter(contact_id=new_id()))
    tasks.list_page(db, world.business_id, TaskFilter(is_open=False, after=(utc_now(), uuid4())))


SWEEP: dict[str, Callable[[World], object]] = {
    "overdue": in_transaction(
        lambda _, db: session_sweeps.look_for_overdue(db, by=timedelta(seconds=1), limit=500)
    ),
    "opened": in_transaction(
        lambda _, db: session_sweeps.opened_since(db, utc_now() - timedelta(minutes=1), limit=500)
    ),
    "closed": in_transaction(
        lambda _, db: session_sweeps.closed_since(db, utc_now() - timedelta(minutes=1), limit=500)
    ),
    "rebuild": in_transaction(
        lambda _, db: session_sweeps.open_by_deadline(db, after=(utc_now(), uuid4()), limit=1000)
    ),
    "rebuild of some shards": in_transaction(
        lambda world, db: session_sweeps.open_by_deadline(
            db, after=(utc_now(), uuid4()), limit=1000, businesses=[world.business_id, uuid4()]
        )
    ),
    "summaries": restart_summaries,
    "callbacks": in_transaction(lambda _, db: callbacks.unfinished(db, limit=500)),
    "early changes": change_before_it_comes,
    "early statuses": tell_before_it_comes,
    "sends": in_transaction(
        lambda _, db: (sends.settle_due(db, limit=500), sends.unfinished(db, limit=500))
    ),
    "audit": lambda world: world.auditor.audit_once(),
    "erasing a business": in_transaction(
        lambda world, db: (
            erasing.marked_business(db),
            erasing.lock_of_business(db, world.business_id, after=utc_now(), limit=200),
            erasing.delete_contacts(db, new_id(), after=new_id(), limit=500),
            erasing.delete_messages(db, new_id(), limit=1000),
        )
    ),
    "erasing what is old": in_transaction(
        lambda _, db: erasing.lock_closed_before(
            db, ago=timedelta(days=39), after=utc_now() - timedelta(days=41), limit=200
        )
    ),
}
READING: dict[str, Callable[[World], object]] = {
    "one session": lambda world: world.session(a_session(world)),
    "sessions": lambda world: world.service.sessions(world.business_id),
    "sessions after": lambda world: world.service.sessions(
        world.business_id, Filter(before=(utc_now() - timedelta(days=20), uuid4()))
    ),
    "sessions of a customer": lambda world: world.service.sessions(
        world.business_id, Filter(customer=DANA)
    ),
    "active chats": in_transaction(
        lambda world, db: session_views.list_active(db, world.business_id, limit=50)
    ),
    "a number's session": lambda world: world.service.active_session_of(
        world.business_id, str(DANA.phone)
    ),
    # Many of the sessions here begin within the next hours, so a day of few is one to come.
    "today in numbers": in_transaction(
        lambda world, db: activity.today(db, world.business_id, utc_now() + timedelta(minutes=80))
    ),
    "sessions day by day": in_transaction(
        lambda world, db: activity.started_between(
            db, world.business_id, [utc_now() - timedelta(days=days) for days in (2, 1, 0)]
        )
    ),
    "contacts": lambda world: world.service.contacts(world.business_id),
    "a message to be sent": in_transaction(look_at_a_send),
    "searching": in_transaction(look_for),
    "notes and tasks": in_transaction(read_notes),
    "indexing": in_transaction(
        lambda world, db: (
            search.mark_stale(db, new_id()),
            search.write_stale(db, limit=1),
        )
    ),
    "messages": lambda world: world.service.messages(world.business_id, a_session(world), limit=50),
}


@pytest.mark.parametrize("name", [*HOT_PATH, *SWEEP, *READING])
def test_no_big_table_is_read_from_end_to_end(full: World, name: str) -> None:
    with statements_of(full) as seen:
        (HOT_PATH | SWEEP | READING)[name](full)
    assert seen
    assert offenders(full, seen) == [], "read from end to end"


def test_a_query_without_an_index_is_noticed(full: World) -> None:
    with statements_of(full) as seen, full.database.transaction() as db:
        db.execute(text("SELECT id FROM sessions WHERE customer_wa_id = :x"), {"x": "y"})
    assert [tables for tables, _ in offenders(full, seen)] == [{"sessions"}]
