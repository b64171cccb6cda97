"""What must hold on every machine: short runs, judged by ratios and by what may never happen.

Each figure is compared with a floor or a peer of the same run, so a slow or busy machine shifts
both. Absolute times are for the long benchmarks.
"""

from __future__ import annotations

from benchmarks import count, lateness, touch
from benchmarks.peers import compare
from benchmarks.report import Report

SHARES = {"plain SET": 0.4, "pgbench": 0.3}
"""Of a floor's rate; the long benchmark's goals are 0.7 and 0.5."""
CLOSED_SHARE = 0.5
"""Row closed p99 of the fire p99 of RQ's own scheduler."""


def run() -> Report:
    """Run what takes under five minutes together; every verdict is a rule."""
    report = Report("gate", {})
    peers = compare.run_short()
    closes = lateness.run(live=20_000, gap_s=120, seconds=10)
    touches = touch.run(
        in_flight=(8,), pipelining=(16,), rounds=3, redis_seconds=0.5, intake_seconds=2,
        customers=1_000,
    )  # fmt: skip
    counts = count.run_count(live=(1_000, 50_000), calls=2_000)
    for part in (peers, closes, touches, counts):
        report.verdicts += [one for one in part.verdicts if one.is_rule]
    for one in touches.verdicts:
        for floor, share in SHARES.items():
            if one.claim.endswith(f"share of {floor}"):
                report.at_least(one.claim, one.actual, share, "", rule=True)
    report.at_most(
        "row closed p99, share of the p99 at which RQ fires",
        closes.spreads["row closed"].p99 / peers.spreads["RQ enqueue_at"].p99,
        CLOSED_SHARE,
        "",
        rule=True,
    )
    return report
