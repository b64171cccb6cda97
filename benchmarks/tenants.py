"""Businesses for a benchmark to be tenants of, and what is stored of their messages afterwards.

`ingest`, `touch` and `under_load` share it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import psycopg

from benchmarks.load import Load, Outcome
from benchmarks.rig import Rig
from benchmarks.webhooks import Plan, Tenant
from timer_service.ids import BusinessId
from timer_service.messages import ProviderName
from timer_service.wiring import build_web


def add_tenants(rig: Rig, count: int) -> list[Tenant]:
    """Make businesses with a number at Meta each."""
    services = build_web(rig.settings)
    made = [
        services.administration.add_business({"name": f"Business {index}"})[0].id
        for index in range(1, count + 1)
    ]
    services.database.close()
    return add_numbers(rig, made)


def add_numbers(rig: Rig, businesses: Iterable[UUID]) -> list[Tenant]:
    """Connect a number at Meta to each business, every one of an app of its own."""
    services = build_web(rig.settings)
    tenants = []
    for index, business_id in enumerate(businesses, start=1):
        tenant = Tenant(
            phone_number_id=f"1{index:014d}",
            business_account_id=f"2{index:014d}",
            app_secret=secrets.token_hex(16),
            number=f"97230{index:07d}",
        )
        services.administration.add_connection(
            BusinessId(business_id),
            provider=ProviderName.META,
            external_id=tenant.phone_number_id,
            secrets={"app_secret": tenant.app_secret, "verify_token": secrets.token_hex(8)},
        )
        tenants.append(tenant)
    services.database.close()
    return tenants


def greet(port: int, tenants: list[Tenant], customers: int) -> tuple[Plan, Outcome]:
    """Let every customer write once, so that each has an open session; it also warms the server."""
    batch = 20
    requests = -(-customers // (len(tenants) * batch)) * len(tenants)
    plan = Plan(
        port, tenants, "greet", requests, customers=customers, batch=batch, in_flight=4,
        in_order=True,
    )  # fmt: skip
    with Load(plan) as load:
        return plan, load.run()


def count_transactions(database_url: str, plan: Plan) -> int:
    """Return how many transactions a plan's messages were stored in."""
    with psycopg.connect(database_url) as db:
        row = db.execute(
            "SELECT count(DISTINCT xmin::text) FROM messages WHERE provider_message_id LIKE %s",
            (f"{plan.id_head}%",),
        ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Stored:
    """What Postgres says of acknowledged messages."""

    acknowledged: int
    rows: int
    lost: int
    """Acknowledged, but not there."""
    double: int
    """Rows beyond one for a message."""
    miscounted: int
    """By how much the sessions' own counts of messages differ from the rows."""


def check_stored(database_url: str, sent: Iterable[tuple[Plan, Outcome]]) -> Stored:
    """Compare what was acknowledged with what is in the tables."""
    acknowledged = {
        message_id
        for plan, outcome in sent
        for request in outcome.acknowledged
        for message_id in plan.message_ids(request)
    }
    with psycopg.connect(database_url) as db:
        rows = [name for (name,) in db.execute("SELECT provider_message_id FROM messages")]
        counted = db.execute("SELECT coalesce(sum(message_count), 0) FROM sessions").fetchone()
    there = set(rows)
    return Stored(
        acknowledged=len(acknowledged),
        rows=len(rows),
        lost=len(acknowledged - there),
        double=len(rows) - len(there),
        miscounted=abs(int(counted[0]) - len(rows)) if counted else len(rows),
    )
