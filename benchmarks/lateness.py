"""How late sessions close at their natural rate, with so many live: the figure that matters most.

A real listener, a real Redis and Postgres; deadlines spread evenly over the idle gap, as those of
chats that begin at random are.
"""

from __future__ import annotations

import time

import psycopg

from benchmarks.disk import tell_flushes
from benchmarks.observing import Observer, read_rows, tell_lateness
from benchmarks.report import Report
from benchmarks.rig import Rig, wait_until
from benchmarks.seeding import BUSINESSES, IDLE_GAP_S, Due, late_s, seed, time_to_arm_s
from timer_service.clock import epoch_s
from timer_service.live_chats import LiveChats
from timer_service.redis_clients import worker_client

SECONDS = 120
STAMPS = ("event received", "row closed", "job in RQ")
_WARM_UP_S = 2.0
_MARGIN_S = 5.0
_SETTLE_S = 3.0


def start_listener(rig: Rig, *, within_s: float) -> None:
    """Start a listener and wait until it has armed what is open."""
    rig.start_service("listen", "listen")
    with worker_client(rig.redis_url) as client:
        live_chats = LiveChats(client, 1)
        wait_until(lambda: live_chats.is_trusted(0), "all sessions are armed", within_s)


def wal_bytes(rig: Rig) -> int:
    """Return how much Postgres has written to its log so far."""
    with psycopg.connect(rig.database_url) as db:
        row = db.execute("SELECT (pg_current_wal_lsn() - '0/0')::int8").fetchone()
    return int(row[0]) if row else 0


def run(
    *,
    live: int = 100_000,
    seconds: float = SECONDS,
    gap_s: int = IDLE_GAP_S,
    businesses: int = BUSINESSES,
) -> Report:
    """Measure for so many seconds, after two of warming up."""
    report = Report(f"lateness-{live}", {"live": live, "gap_s": gap_s, "seconds": seconds})
    with Rig() as rig:
        first_due_at_s = epoch_s() + time_to_arm_s(live)
        dues = [Due(live, first_due_at_s, gap_s)]
        seed(rig.database_url, dues, businesses=businesses, gap_s=gap_s)
        report.figure("seeded before the first deadline", -late_s(first_due_at_s), "s")
        start_listener(rig, within_s=600)
        report.figure("armed before the first deadline", -late_s(first_due_at_s), "s")
        if late_s(first_due_at_s) > 0:
            raise RuntimeError("seeding and arming took longer than time_to_arm_s expects")
        tell_flushes(report, rig.folder, at_most_s=-late_s(first_due_at_s) - _MARGIN_S)
        observer = Observer(rig)
        begin_at_s = first_due_at_s + _WARM_UP_S
        time.sleep(max(0.0, begin_at_s - epoch_s()))
        rig.begin_cpu()
        written = wal_bytes(rig)
        time.sleep(seconds)
        report.cpu_s = rig.cpu_s()
        written = wal_bytes(rig) - written
        time.sleep(_SETTLE_S)
        observed = observer.stop()
        rig.stop("listen")
        rows = read_rows(rig.database_url, begin_at_s + seconds)
    tell_lateness(
        report,
        [row for row in rows if begin_at_s <= row.deadline_at_s < begin_at_s + seconds],
        observed,
    )
    early = sum(
        row.committed_at_s is not None and row.committed_at_s < row.deadline_at_s for row in rows
    )
    report.at_most("closed early, warming up among them", early, 0, "sessions", rule=True)
    event, row, job = (report.spreads[one] for one in STAMPS)
    report.figure("WAL of each close", written / max(1, row.count), "bytes")
    report.at_most("event received p99", event.p99, 3, "ms")
    report.at_most("row closed p50", row.p50, 3, "ms")
    report.at_most("row closed p99", row.p99, 5, "ms")
    report.at_most("row closed max", row.max, 50, "ms")
    report.at_most("job in RQ p99", job.p99, 15, "ms")
    return report
