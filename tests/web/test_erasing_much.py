"""A business with a long history is erased as quickly as a new one: 204 at once, gone at once."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from tests.web.shop import ADMIN_KEY, Shop, bearer
from timer_service.eraser import Eraser
from timer_service.settings import Settings
from timer_service.wiring import WebServices

ADMIN = bearer(ADMIN_KEY)
TABLES = ("businesses", "connections", "contacts", "contact_ids", "sessions", "messages")

_HISTORY = """
    INSERT INTO contacts (id, business_id)
      SELECT gen_random_uuid(), %(business)s FROM generate_series(1, %(count)s / 5);
    INSERT INTO contact_ids (business_id, kind, value, contact_id)
      SELECT business_id, 'phone', '9727' || row_number() OVER (), id FROM contacts
      WHERE business_id = %(business)s ON CONFLICT DO NOTHING;
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number,
      state, version, started_at, last_touch_at, deadline_at, closed_at, close_reason,
      message_count)
      SELECT gen_random_uuid(), %(business)s, %(connection)s, id, 'x', n, 'closed', 1, at, at, at,
        at, 'idle', 2
      FROM contacts CROSS JOIN generate_series(1, 5) n,
        LATERAL (SELECT clock_timestamp() - make_interval(days => n) AS at) t
      WHERE business_id = %(business)s;
    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, received_at, placed_at)
      SELECT gen_random_uuid(), business_id, connection_id, id, id || '-' || n, 'in', 'customer',
        'text', started_at, started_at
      FROM sessions CROSS JOIN generate_series(1, 2) n WHERE business_id = %(business)s
"""


def remember(url: str, shop: Shop, sessions: int) -> None:
    """Give a shop a history of so many sessions, two messages each."""
    values = {"business": shop.id, "connection": shop.connect()["id"], "count": sessions}
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SET session_replication_role = replica")
        for statement in _HISTORY.split(";"):
            db.execute(statement, values)
        db.execute("ANALYZE")


def rows_of(url: str, shop: Shop) -> dict[str, int]:
    with psycopg.connect(url) as db:
        return {
            table: db.execute(
                f"SELECT count(*) FROM {table} WHERE "
                f"{'id' if table == 'businesses' else 'business_id'} = %s",
                [shop.id],
            ).fetchone()[0]  # type: ignore[index]
            for table in TABLES
        }


def erase_much(shop: Shop, other: Shop, services: WebServices, url: str, *, sessions: int) -> None:
    client = shop.client
    remember(url, shop, sessions)
    kept = other.record(other.connect(), "hello")[0]["session_id"]
    other_rows = rows_of(url, other)
    began_s = time.monotonic()
    assert client.delete(f"/api/businesses/{shop.id}", headers=ADMIN).status_code == 204
    assert time.monotonic() - began_s < 1.5
    assert rows_of(url, shop)["sessions"] > 0  # or this would prove nothing
    assert shop.get("/api/sessions").status_code == 401
    for path in (f"/api/businesses/{shop.id}", f"/api/sessions?business_id={shop.id}"):
        assert client.get(path, headers=ADMIN).status_code == 404
    listed: Any = client.get("/api/businesses", headers=ADMIN).json
    assert [one["id"] for one in listed["items"]] == [other.id]

    eraser = Eraser(services.database, services.administration._eraser._follow_up)
    while eraser.erase_once():
        pass
    assert set(rows_of(url, shop).values()) == {0}
    assert rows_of(url, other) == other_rows
    assert other.get(f"/api/sessions/{kept}").json["is_open"]


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def test_thousands_of_sessions(
    shop: Shop, other_shop: Shop, services: WebServices, settings: Settings
) -> None:
    erase_much(shop, other_shop, services, url_of(settings), sessions=20_000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_sessions(
    shop: Shop, other_shop: Shop, services: WebServices, settings: Settings
) -> None:
    erase_much(shop, other_shop, services, url_of(settings), sessions=1_000_000)
