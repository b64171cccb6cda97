"""How long each page of the console takes at the server, with years of conversations behind it.

The application answers in this process, as a web worker would: what is timed is a whole request,
from the first byte read to the last one written, without the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
from flask.testing import FlaskClient

from benchmarks.pages_seed import seed
from benchmarks.report import Report, Spread
from benchmarks.rig import Rig
from timer_http import create_app
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.records import search
from timer_service.wiring import build_web

GOAL_MS = 100.0
_INDEXED_AT_ONCE = 1_000
_INDEXED_AS_EVER = 10
_REFUSED = 503
_POSTGRES = ("-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB")


@dataclass(frozen=True, slots=True)
class _Places:
    """Rows of the business whose pages are timed."""

    business: str
    session: str
    long_session: str
    contact: str
    faithful: str
    open_session: str


def run(*, sessions: int, messages: int, rounds: int) -> Report:
    """Fill a database, then time each page so many times."""
    report = Report(
        "pages", {"sessions": sessions, "messages": sessions * messages, "rounds": rounds}
    )
    with Rig(postgres_options=_POSTGRES) as rig:
        began_s = monotonic_s()
        seed(rig.database_url, sessions=sessions, messages=messages)
        report.figure("seeded in", monotonic_s() - began_s, "s")
        _index(rig.database_url, report)
        rig.analyze()
        rig.start_listener()
        services = build_web(rig.settings)
        client = create_app(services).test_client()
        key = rig.env["TIMER_ADMIN_KEY"]
        client.post("/sign-in", data={"key": key})
        took_ms = {
            name: _timed_ms(client, address, rounds)
            for name, address in _pages(_places(rig.database_url)).items()
        }
        services.database.close()
        _measure_sizes(rig.database_url, report)
    spreads = {name: Spread.of(values) for name, values in took_ms.items()}
    # What is left of a busy machine's noise: what the page itself takes.
    least = {name: min(values) for name, values in took_ms.items()}
    report.table(
        ("page", "least ms", "p50 ms", "p90 ms", "max ms"),
        [
            (name, f"{least[name]:.1f}", f"{one.p50:.1f}", f"{one.p90:.1f}", f"{one.max:.1f}")
            for name, one in spreads.items()
        ],
    )
    slowest = max(spreads, key=lambda name: spreads[name].p50)
    report.at_most(f"slowest page, p50: {slowest}", spreads[slowest].p50, GOAL_MS, "ms")
    worst = max(spreads, key=lambda name: spreads[name].max)
    report.at_most(f"slowest answer: {worst}", spreads[worst].max, GOAL_MS, "ms")
    return report


def _index(database_url: str, report: Report) -> None:
    """Write all words: some as the indexer does, the rest without the index, which is made last."""
    database = Database.for_workers(database_url, size=1)
    began_s = monotonic_s()
    written = sum(_write_words(database) for _ in range(_INDEXED_AS_EVER))
    report.figure("words written", written / (monotonic_s() - began_s), "conversations/s")
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("DROP INDEX ix_session_words_words")
        while _write_words(database):
            pass
        db.execute("CREATE INDEX ix_session_words_words ON session_words USING gin (words)")
    database.close()


def _write_words(database: Database) -> int:
    with database.transaction() as db:
        return search.write_stale(db, limit=_INDEXED_AT_ONCE)


def _pages(at: _Places) -> Mapping[str, str]:
    own = f"/console/businesses/{at.business}"
    listed = f"{own}/conversations"
    pages = {
        "overview": own,
        "conversations": listed,
        "closed": f"{listed}?state=closed",
        "active": f"{listed}?state=active",
        "a provider of one in 20,000": f"{listed}?provider=waha",
        "a provider of none": f"{listed}?provider=twilio",
        "follow-up wanted": f"{listed}?follow_up=yes",
        "summary failed": f"{listed}?summary=failed",
        "summary waiting (none)": f"{listed}?summary=waiting",
        "two years ago": f"{listed}?since=2024-10-01&until=2024-10-31",
        "one day": f"{listed}?since=2025-05-05&until=2025-05-05",
        "of a contact": f"{listed}?contact={at.contact}",
        "follow-ups of a contact": f"{listed}?contact={at.faithful}&follow_up=yes",
        "conversation": f"{own}/sessions/{at.session}",
        "conversation, live part": f"{own}/sessions/{at.session}/live",
        "conversation of 3,000 messages": f"{own}/sessions/{at.long_session}",
        "conversation that goes on": f"{own}/sessions/{at.open_session}",
        "contacts": f"{own}/contacts",
        "contact": f"{own}/contacts/{at.contact}",
        "contact of 2,000 conversations": f"{own}/contacts/{at.faithful}",
        "API: tasks": f"/api/tasks?business_id={at.business}",
    }
    searched = {
        "every one": "שלום",
        "one in 100": "סנדלים",
        "one in 50,000": "זברה",
        "none": "אין־כזה",
        "one letter": "w",
        "two words": "שלום זברה",
        "two frequent words": "w1 w2",
        "a rarer word": "w49999",
        "a name": "dana",
        "a name of some": "L4321",
        "a whole number": "+972 50-000-4321",
        "how a number ends": "4321",
    }
    pages |= {f"search: {name}": f"{listed}?q={quote(q)}" for name, q in searched.items()}
    pages |= {
        "search with filters": f"{listed}?q={quote('סנדלים')}&provider=waha&follow_up=yes",
        "search long ago": f"{listed}?q={quote('סנדלים')}&until=2024-06-01",
    }
    pages |= {
        f"contacts: {name}": f"{own}/contacts?q={quote(searched[name])}"
        for name in ("a name", "a name of some", "a whole number", "how a number ends", "none")
    }
    return pages


def _timed_ms(client: FlaskClient, address: str, rounds: int) -> list[float]:
    took_ms = []
    headers = {"Authorization": f"Bearer {_key(client)}"} if address.startswith("/api/") else {}
    for number in range(rounds + 1):
        began_s = monotonic_s()
        answer = client.get(address, headers=headers)
        ended_s = monotonic_s()
        if answer.status_code not in {200, _REFUSED}:
            raise RuntimeError(f"{address} was answered {answer.status_code}")
        # The first one plans, compiles templates, fills caches. One that Postgres had no time for
        # would have taken nobody knows how long.
        if number:
            is_refused = answer.status_code == _REFUSED
            took_ms.append(math.inf if is_refused else (ended_s - began_s) * 1000)
    return took_ms


def _key(client: FlaskClient) -> str:
    settings: Any = client.application.extensions["timer_service"].settings
    return str(settings.admin_key.get_secret_value())


def _places(database_url: str) -> _Places:
    with psycopg.connect(database_url) as db:

        def one(query: Any, *values: object) -> str:
            row = db.execute(query, values).fetchone()
            if row is None:
                raise RuntimeError("the seed lacks a row")
            return str(row[0])

        business = one("SELECT bench_id(0, 0)")
        long_session = one("SELECT session_id FROM messages WHERE id = bench_id(7, 1)")
        return _Places(
            business=one("SELECT business_id FROM sessions WHERE id = %s", long_session),
            session=one(
                "SELECT id FROM sessions WHERE business_id = %s AND state = 'closed' "
                "ORDER BY started_at DESC OFFSET 500 LIMIT 1",
                business,
            ),
            long_session=long_session,
            open_session=one(
                "SELECT id FROM sessions WHERE business_id = %s AND state = 'open' LIMIT 1",
                business,
            ),
            contact=one(
                "SELECT contact_id FROM sessions WHERE business_id = %s "
                "ORDER BY started_at DESC OFFSET 700 LIMIT 1",
                business,
            ),
            faithful=one("SELECT bench_id(2, 0)"),
        )


def _measure_sizes(database_url: str, report: Report) -> None:
    with psycopg.connect(database_url) as db:
        for name in ("messages", "session_words", "ix_session_words_words"):
            row = db.execute("SELECT pg_total_relation_size(%s::regclass)", (name,)).fetchone()
            report.figure(f"{name}", (row[0] if row else 0) / 2**20, "MiB")
