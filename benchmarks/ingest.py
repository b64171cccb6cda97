"""Signed webhooks over HTTP through the server that `up` uses: how many, how fast, none lost."""

from __future__ import annotations

from benchmarks.load import Load, Outcome
from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.tenants import (
    Stored,
    add_tenants,
    check_stored,
    count_transactions,
    greet,
)
from benchmarks.webhooks import Plan

SINGLE_PER_S = 1_500.0
SINGLE_P99_MS = 50.0
BATCHED_MESSAGES_PER_S = 4_000.0
MEASURED = ("web", "postgres", "redis", "listen", "load")
MOST_MESSAGES_PER_S = 6_000
MOST_BATCHED_MESSAGES_PER_S = 20_000

Row = tuple[str, ...]


def run(
    *,
    seconds: float = 20.0,
    in_flight: tuple[int, ...] = (16, 32),
    batches: tuple[int, ...] = (1, 20),
    businesses: int = 5,
    customers: int = 5_000,
    new_share: float = 0.0,
    rate: float | None = None,
    workers: int = 0,
) -> Report:
    """Measure each size of body at each number of requests in flight.

    Args:
        seconds: how long each measurement lasts.
        in_flight: connections, one request under way on each.
        batches: messages per body.
        businesses: tenants, each with a number and an app secret of its own.
        customers: contacts with an open session before the clock starts.
        new_share: of the messages, how many are of people never seen.
        rate: webhooks/s to send whatever the server does; None: as fast as it answers.
        workers: RQ workers to run beside it.
    """
    report = Report("ingest", dict(locals()))
    rows: list[Row] = []
    with Rig() as rig:
        rig.start_listener()
        for number in range(workers):
            rig.start_service(f"work-{number}", "work", "--queue", "summaries")
        port = rig.start_web()
        tenants = add_tenants(rig, businesses)
        sent = [greet(port, tenants, customers)]
        rig.analyze()
        for batch in batches:
            most = MOST_MESSAGES_PER_S if batch == 1 else MOST_BATCHED_MESSAGES_PER_S
            for lanes in in_flight:
                plan = Plan(
                    port=port,
                    tenants=tenants,
                    run=f"b{batch}x{lanes}",
                    requests=int(seconds * (rate or most / batch)),
                    customers=customers,
                    batch=batch,
                    in_flight=lanes,
                    rate=rate,
                    seconds=seconds,
                    new_share=new_share,
                    seed=batch * 1_000 + lanes,
                )
                with Load(plan) as load:
                    rig.begin_cpu()
                    outcome = load.run()
                    spent = rig.cpu_s()
                commits = count_transactions(rig.database_url, plan)
                rows.append(_tell(report, plan, outcome, spent, commits))
                sent.append((plan, outcome))
        columns = ("CPU: ms a webhook", "webhooks/s", "messages/s", "not 200", "a commit")
        report.table((*columns, *MEASURED), rows)
        _judge_stored(report, check_stored(rig.database_url, sent))
    return report


def _tell(
    report: Report, plan: Plan, outcome: Outcome, spent: dict[str, float], commits: int
) -> Row:
    """Judge one measurement; return its row of the table."""
    label = f"{plan.batch} a body, {plan.in_flight} in flight"
    answered = len(outcome.acknowledged)
    spread = report.spread(label, [outcome.took_ms[index] for index in outcome.acknowledged])
    per_s = outcome.answered_per_s
    missed = outcome.missed(plan)
    if plan.rate is None and plan.batch == 1:
        report.at_least(f"{label}: webhooks", per_s, SINGLE_PER_S, "/s")
        report.at_most(f"{label}: p99", spread.p99, SINGLE_P99_MS, "ms")
    elif plan.rate is None:
        messages_per_s = per_s * plan.batch
        report.at_least(f"{label}: messages", messages_per_s, BATCHED_MESSAGES_PER_S, "/s")
    report.at_most(f"{label}: not answered 200", missed, 0, "webhooks")
    spent |= {"load": outcome.cpu_s}
    report.cpu_s |= {f"{plan.run} {name}": round(cpu_s, 1) for name, cpu_s in spent.items()}
    each_ms = (f"{1000 * spent[name] / max(1, answered):.2f}" for name in MEASURED)
    figures = (f"{per_s:,.0f}", f"{per_s * plan.batch:,.0f}", f"{missed:,}")
    together = f"{answered * plan.batch / max(1, commits):.1f}"
    return (label, *figures, together, *each_ms)


def _judge_stored(report: Report, stored: Stored) -> None:
    report.figure("acknowledged messages", stored.acknowledged, "")
    report.at_most("acknowledged and lost", stored.lost, 0, "messages", rule=True)
    report.at_most("stored twice", stored.double, 0, "messages", rule=True)
    report.at_most("sessions' counts off by", stored.miscounted, 0, "messages", rule=True)
