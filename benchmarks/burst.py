"""What happens when many sessions fall due at once, and how many closes a second can be sustained.

Bursts of sessions due in the same millisecond, one after another, over many that stay live; then
as many closes a second as the goal asks for, for some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.lateness import start_listener
from benchmarks.observing import Observed, Observer, Row, read_rows, tell_lateness
from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.seeding import BUSINESSES, Due, late_s, seed, time_to_arm_s
from timer_service.clock import epoch_s

DUE = (1_000, 10_000, 100_000)
_GOALS_S = {10_000: 1.0, 100_000: 12.0}
_PAUSE_S = 3.0
_SLOWEST_PER_S = 4_000
"""Closes a second that each part is given time for."""


def run(
    *,
    live: int = 1_000_000,
    due: Sequence[int] = DUE,
    sustained: int = 10_000,
    seconds: float = 10.0,
    businesses: int = BUSINESSES,
) -> Report:
    """Measure each burst, then ``sustained`` closes a second for so many seconds (0: not)."""
    report = Report("burst", {"live": live, "due": list(due), "sustained": sustained})
    steady = round(sustained * seconds)
    with Rig() as rig:
        at_s = epoch_s() + time_to_arm_s(live + sum(due) + steady)
        dues = []
        for count in due:
            dues.append(Due(count, at_s))
            at_s += _PAUSE_S + count / _SLOWEST_PER_S
        if steady:
            dues.append(Due(steady, at_s, seconds))
            at_s += _PAUSE_S + max(seconds, steady / _SLOWEST_PER_S)
        kept = [Due(live, at_s + 600, 3_600)] if live else []
        seed(rig.database_url, [*dues, *kept], businesses=businesses)
        start_listener(rig, within_s=600)
        if late_s(dues[0].at_s) > 0:
            raise RuntimeError("seeding and arming took longer than time_to_arm_s expects")
        observer = Observer(rig)
        time.sleep(max(0.0, dues[0].at_s - 0.2 - epoch_s()))
        rig.begin_cpu()
        time.sleep(max(0.0, at_s - epoch_s()))
        report.cpu_s = rig.cpu_s()
        observed = observer.stop()
        rows = read_rows(rig.database_url, at_s)
    for one in dues:
        _tell(report, one, rows, observed)
    return report


def _tell(report: Report, due: Due, rows: Sequence[Row], observed: Observed) -> None:
    first, last = round(due.at_s, 3) - 0.0005, due.at_s + due.over_s + 0.0005
    theirs = [row for row in rows if first <= row.deadline_at_s < last]
    label = f"{due.count / due.over_s:,.0f}/s" if due.over_s else f"{due.count:,} at once"
    tell_lateness(report, theirs, observed, label=label)
    closed = report.spreads[f"{label}: row closed"]
    jobs = [at_s for row in theirs for at_s in observed.jobs_at_s.get(row.session_id, [])]
    took_s = max(jobs, default=due.at_s) - due.at_s
    rate = report.figure(f"{label}: closed and handed to RQ", len(jobs) / max(took_s, 1e-3), "/s")
    if due.over_s:
        report.at_most(f"{label}: row closed p99", closed.p99, 10, "ms")
    elif due.count in _GOALS_S:
        report.at_most(f"{label}: all closed", closed.max / 1000, _GOALS_S[due.count], "s")
        report.at_least(f"{label}: with the hand-off", rate, 8_000, "/s")
