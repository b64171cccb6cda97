"""Customers write while faults strike a whole deployment; a checker that knows nothing but what
the outside saw and what Postgres holds finds nothing wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak.run import Judged, soak
from benchmarks.soak.schedule import Plan

SHORT = Plan(
    seed=1,
    seconds=16,
    faults=7,
    sessions_per_s=15,
    customers=150,
    gap_s=2,
    calm_s=6,
    longest_fault_s=1.0,
)
LONG = Plan(seed=2, seconds=600, faults=40, sessions_per_s=25, customers=2_000)


def judge(judged: Judged) -> None:
    assert not judged.violations, judged
    for claim in judged.report.verdicts:
        assert claim.met, claim


@pytest.mark.timeout(300)
def test_half_a_minute_of_faults_breaks_no_promise(tmp_path: Path) -> None:
    judged = soak(SHORT, tmp_path, drain_s=90, is_hurried=True)
    judge(judged)
    assert judged.report.figures["sessions"][0] > 150
    assert judged.report.figures["faults done"][0] >= 5
    assert judged.report.figures["counts judged"][0] >= 5


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    judged = soak(LONG, tmp_path, drain_s=400)
    judge(judged)
    assert judged.report.figures["sessions"][0] > 10_000
    assert judged.report.figures["faults done"][0] >= 36
