"""How late sessions close while webhooks arrive over HTTP, for the same businesses.

The natural rate of `lateness`, first with no webhook at all, then at each rate. The webhooks are of
customers of their own, whose chats stay live.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.disk import tell_flushes
from benchmarks.lateness import start_listener
from benchmarks.load import Load, Outcome
from benchmarks.observing import Observer, read_rows, tell_lateness
from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.seeding import BUSINESSES, IDLE_GAP_S, Due, late_s, seed, time_to_arm_s
from benchmarks.tenants import add_numbers, check_stored, greet
from benchmarks.webhooks import Plan
from timer_service.clock import epoch_s

ROW_CLOSED_P99_MS = 25.0
IN_FLIGHT = 64
_TIME_TO_GREET_S = 20.0
_WARM_UP_S = 2.0
_MARGIN_S = 3.0
_PAUSE_S = 4.0


def run(
    *,
    live: int = 100_000,
    rates: Sequence[int] = (0, 500, 1_000),
    seconds: float = 30.0,
    customers: int = 5_000,
    businesses: int = BUSINESSES,
) -> Report:
    """Measure at each rate of webhooks for so many seconds; 0: with none, to compare with."""
    settings = {"live": live, "gap_s": IDLE_GAP_S, "seconds": seconds, "customers": customers}
    report = Report("under-load", settings)
    with Rig() as rig:
        at_s = epoch_s() + time_to_arm_s(live) + _TIME_TO_GREET_S
        ids = seed(
            rig.database_url, [Due(live, at_s, IDLE_GAP_S)], businesses=businesses, gap_s=IDLE_GAP_S
        )
        start_listener(rig, within_s=600)
        port = rig.start_web()
        tenants = add_numbers(rig, ids)
        sent = [greet(port, tenants, customers)]
        rig.analyze()
        if late_s(at_s) > 0:
            raise RuntimeError("seeding, arming and greeting took longer than expected")
        tell_flushes(report, rig.folder, at_most_s=-late_s(at_s) - _MARGIN_S)
        observer = Observer(rig)
        at_s += _WARM_UP_S
        windows: list[tuple[int, float]] = []
        for rate in rates:
            plan = Plan(
                port,
                tenants,
                f"r{rate}",
                requests=int(rate * seconds),
                customers=customers,
                in_flight=IN_FLIGHT,
                rate=rate or None,
                seconds=seconds,
            )
            with Load(plan) as load:
                time.sleep(max(0.0, at_s - epoch_s()))
                rig.begin_cpu()
                load.start()
                windows.append((rate, epoch_s()))
                time.sleep(seconds)
                spent = rig.cpu_s()
                outcome = load.finish()
            sent.append((plan, outcome))
            _tell_load(report, plan, outcome, spent)
            at_s = epoch_s() + _PAUSE_S
        observed = observer.stop()
        rig.stop("listen")
        rows = read_rows(rig.database_url, epoch_s())
        stored = check_stored(rig.database_url, sent)
    for rate, began_at_s in windows:
        due = [row for row in rows if began_at_s <= row.deadline_at_s < began_at_s + seconds]
        label = _label(rate)
        tell_lateness(report, due, observed, label=label)
        p99_ms = report.spreads[f"{label}: row closed"].p99
        report.at_most(f"{label}: row closed p99", p99_ms, ROW_CLOSED_P99_MS, "ms")
    report.at_most("acknowledged and lost", stored.lost, 0, "messages", rule=True)
    report.at_most("stored twice", stored.double, 0, "messages", rule=True)
    return report


def _label(rate: int) -> str:
    return f"{rate:,} webhooks/s" if rate else "no webhooks"


def _tell_load(report: Report, plan: Plan, outcome: Outcome, spent: dict[str, float]) -> None:
    rate = round(plan.rate or 0)
    report.cpu_s |= {f"{rate}/s {name}": cpu_s for name, cpu_s in spent.items()}
    if not rate:
        return
    answered = outcome.acknowledged
    report.cpu_s[f"{rate}/s load"] = round(outcome.cpu_s, 3)
    report.spread(f"{_label(rate)}: answered", [outcome.took_ms[index] for index in answered])
    report.figure(f"{_label(rate)}: answered", outcome.answered_per_s, "/s")
    report.at_most(f"{_label(rate)}: not answered 200", outcome.missed(plan), 0, "webhooks")
