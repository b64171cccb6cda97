"""What a touch costs: in Redis alone, and all the way through intake, each beside its floor.

The floors run in the same run, in turn with what is measured, so a busy machine shifts both alike:
plain ``SET key value PX`` through the same client with the same pipelining, and pgbench with
intake's statements. In flight are threads of one process, or of several where that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import psycopg

from benchmarks.intake_floor import run_floor
from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.touch_intake import Takers, greet
from benchmarks.touch_redis import compare, find_redis_benchmark, run_redis_benchmark

REDIS_SHARE = 0.70
INTAKE_SHARE = 0.50


def run(
    *,
    in_flight: Sequence[int] = (1, 8, 32),
    pipelining: Sequence[int] = (1, 16, 100),
    rounds: int = 5,
    redis_seconds: float = 0.5,
    intake_seconds: int = 3,
    processes: int = 1,
    customers: int = 5_000,
    businesses: int = 5,
) -> Report:
    """Measure both, each as the median of several rounds.

    Args:
        in_flight: touches under way at one time: threads, spread over ``processes``.
        pipelining: touches in one round trip to Redis.
        rounds: how often each is measured, in turn with its floor.
        redis_seconds: how long each measurement in Redis lasts; 0: leave this part out.
        intake_seconds: the same through intake.
        processes: that take messages in; `up` runs two.
        customers: with an open session before the clock starts.
        businesses: that they are customers of.
    """
    report = Report("touch", dict(locals()))
    with Rig() as rig:
        if redis_seconds:
            _tell_redis(report, rig, in_flight, pipelining, seconds=redis_seconds, rounds=rounds)
        if intake_seconds:
            connections = greet(rig, businesses, customers)
            with Takers(processes, rig.settings, connections, customers) as takers:
                _tell_intake(report, rig, takers, in_flight, seconds=intake_seconds, rounds=rounds)
            _check_counts(report, rig.database_url)
    return report


def _tell_redis(
    report: Report,
    rig: Rig,
    in_flight: Sequence[int],
    pipelining: Sequence[int],
    *,
    seconds: float,
    rounds: int,
) -> None:
    rows: list[tuple[str, ...]] = []
    tool = find_redis_benchmark()
    for depth in pipelining:
        for threads in in_flight:
            found = compare(
                rig.redis_url, depth=depth, threads=threads, seconds=seconds, rounds=rounds
            )
            label = f"Redis, {depth} a round trip, {threads} in flight"
            report.at_least(f"{label}: share of plain SET", found.share, REDIS_SHARE, "")
            row = [f"{depth} a round trip, {threads} in flight"]
            row += [f"{found.armed_per_s:,.0f}", f"{found.plain_per_s:,.0f}", f"{found.share:.2f}"]
            if tool:
                with_tool = run_redis_benchmark(tool, rig.redis_url, depth=depth, clients=threads)
                row.append(f"{with_tool:,.0f}")
            rows.append(tuple(row))
    columns = ("Redis alone, touches/s", "armed", "plain SET", "share")
    report.table((*columns, "redis-benchmark SET") if tool else columns, rows)


def _tell_intake(
    report: Report,
    rig: Rig,
    takers: Takers,
    in_flight: Sequence[int],
    *,
    seconds: int,
    rounds: int,
) -> None:
    rows: list[tuple[str, ...]] = []
    for threads in in_flight:
        floors: list[float] = []
        ours: list[float] = []
        took_ms: list[float] = []
        for _ in range(rounds):
            taken = takers.take(threads, seconds)
            ours.append(taken.per_s)
            took_ms += taken.took_ms
            floor = run_floor(
                rig.database_url,
                clients=threads,
                seconds=seconds,
                customers=takers.customers,
                tenants=takers.tenants,
            )
            floors.append(floor)
        share = median(mine / its for mine, its in zip(ours, floors, strict=True))
        label = f"through intake, {threads} in flight"
        report.spread(label, took_ms)
        report.at_least(f"{label}: share of pgbench", share, INTAKE_SHARE, "")
        figures = (f"{median(ours):,.0f}", f"{median(floors):,.0f}", f"{share:.2f}")
        rows.append((f"{threads} in flight", *figures))
    report.table(("through intake, touches/s", "intake", "pgbench", "share"), rows)


def _check_counts(report: Report, database_url: str) -> None:
    with psycopg.connect(database_url) as db:
        row = db.execute(
            """SELECT (SELECT count(*) FROM messages),
                 (SELECT coalesce(sum(message_count), 0) FROM sessions)"""
        ).fetchone()
    stored, counted = row or (0, -1)
    report.at_most(
        "sessions' counts off by", abs(int(stored) - int(counted)), 0, "messages", rule=True
    )
