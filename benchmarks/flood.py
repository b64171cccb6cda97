"""More webhooks than the machine can take, and one business that sends ten times its share.

First the capacity is measured, then twice as much is sent: what is not taken must be refused soon,
what is taken must be answered soon, and afterwards all must be as before. Then nine businesses send
at a steady rate, alone and beside a tenth that floods.
"""

from __future__ import annotations

import time
from collections import Counter

import psutil

from benchmarks.load import BROKEN, OK, Load, Outcome
from benchmarks.report import Report, Spread
from benchmarks.rig import Rig
from benchmarks.tenants import add_tenants, check_stored, greet
from benchmarks.webhooks import Plan, Tenant

REFUSED = 503
BUSINESSES = 10
CUSTOMERS = 2_000
_CROWD = 2_000
_STEADY_SHARE = 0.5
_FLOOD_TIMES = 10
_NORMAL_AGAIN_S = 2.0


def run(*, seconds: float = 10.0, times: float = 2.0) -> Report:
    """Flood for so many seconds with so many times the capacity."""
    report = Report("flood", {"seconds": seconds, "times": times, "businesses": BUSINESSES})
    with Rig() as rig:
        port = rig.start_web()
        tenants = add_tenants(rig, BUSINESSES)
        sent = [greet(port, tenants, CUSTOMERS)]
        rig.analyze()
        capacity = _capacity(port, tenants, sent)
        report.figure("capacity, 32 in flight", capacity, "webhooks/s")

        def at(run: str, rate: float, who: list[Tenant], lanes: int = _CROWD) -> Load:
            plan = Plan(
                port, who, run, requests=round(rate * seconds), customers=CUSTOMERS,
                in_flight=lanes, rate=rate, seconds=seconds,
            )  # fmt: skip
            plans[run] = plan
            return Load(plan)

        plans: dict[str, Plan] = {}
        steady = capacity * _STEADY_SHARE
        before = _tell(report, "before", sent, plans, at("before", steady, tenants))
        memory_before = _memory_mb(rig)
        flooded = _tell(report, "flooded", sent, plans, at("flooded", capacity * times, tenants))
        memory_after = _memory_mb(rig)
        time.sleep(_NORMAL_AGAIN_S)
        after = _tell(report, "after", sent, plans, at("after", steady, tenants))
        grown = 100 * (memory_after - memory_before) / memory_before
        report.at_most("flooded: answered 200 or 503, p99", flooded.p99, 1000, "ms")
        report.at_most("web's memory grew by", round(grown, 1), 20, "%")
        report.at_most("two seconds later, p99 against before", after.p99 / before.p99, 2, "times")

        others, flooder = tenants[1:], tenants[:1]
        share = steady / BUSINESSES
        alone = _tell(report, "nine", sent, plans, at("nine", share * len(others), others))
        with at("flooder", share * _FLOOD_TIMES, flooder) as flood:
            flood.start()
            beside = _tell(report, "beside", sent, plans, at("beside", share * len(others), others))
            sent.append((plans["flooder"], flood.finish()))
        report.at_most("the others' p99 beside a flooder", beside.p99 / alone.p99, 2, "times")
        stored = check_stored(rig.database_url, sent)
    report.at_most("acknowledged and lost", stored.lost, 0, "messages", rule=True)
    report.at_most("stored twice", stored.double, 0, "messages", rule=True)
    return report


def _capacity(port: int, tenants: list[Tenant], sent: list[tuple[Plan, Outcome]]) -> float:
    plan = Plan(
        port, tenants, "most", requests=30_000, customers=CUSTOMERS, in_flight=32, seconds=5.0
    )
    with Load(plan) as load:
        outcome = load.run()
    sent.append((plan, outcome))
    return outcome.answered_per_s


def _tell(
    report: Report,
    name: str,
    sent: list[tuple[Plan, Outcome]],
    plans: dict[str, Plan],
    load: Load,
) -> Spread:
    with load:
        outcome = load.run()
    sent.append((plans[name], outcome))
    told = Counter(outcome.statuses)
    asked = plans[name].requests
    report.note(
        f"{name}: {asked} asked, {told[OK]} taken, {told[REFUSED]} refused, "
        f"{told[BROKEN] + asked - len(outcome.statuses)} broken or not sent"
    )
    answered = [
        took_ms
        for took_ms, status in zip(outcome.took_ms, outcome.statuses, strict=True)
        if status != BROKEN
    ]
    return report.spread(f"{name}: answered", answered)


def _memory_mb(rig: Rig) -> float:
    root = psutil.Process(rig.pid_of("web"))
    found = sum(one.memory_info().rss for one in [root, *root.children(recursive=True)])
    return float(found) / 1e6
