"""More webhooks than the machine can take, and one business that sends ten times its share.

First the capacity is measured, then twice as much is sent: what is not taken must be refused soon,
what is taken must be answered soon, and afterwards all must be as before. Then nine businesses send
at a steady rate, alone, beside a tenth that floods, and alone again: a few times over, judged by
the median, for a machine is never the same twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

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
_NORMAL_AGAIN_S = 2.0


def run(
    *,
    seconds: float = 10.0,
    times: float = 2.0,
    steady: float = 0.5,
    share_times: float = 10.0,
    rounds: int = 3,
    only_fairness: bool = False,
) -> Report:
    """Flood for so many seconds with so many times the capacity, and one business's share.

    ``steady``: what all businesses send together when nobody floods, as a part of the capacity.
    """
    settings = {"seconds": seconds, "times": times, "steady": steady, "share_times": share_times}
    report = Report("flood", {**settings, "rounds": rounds, "businesses": BUSINESSES})
    with Rig() as rig:
        floods = _Floods(rig, report, seconds, steady)
        if not only_fairness:
            floods.send_too_much(times)
        floods.send_beside_one(share_times, rounds)
        stored = check_stored(rig.database_url, floods.sent)
    report.at_most("acknowledged and lost", stored.lost, 0, "messages", rule=True)
    report.at_most("stored twice", stored.double, 0, "messages", rule=True)
    return report


class _Floods:
    """The parts of the benchmark, in one deployment whose capacity is measured first."""

    def __init__(self, rig: Rig, report: Report, seconds: float, steady: float) -> None:
        self._rig = rig
        self._report = report
        self._seconds = seconds
        self._port = rig.start_web()
        self._tenants = add_tenants(rig, BUSINESSES)
        self.sent = [greet(self._port, self._tenants, CUSTOMERS)]
        rig.analyze()
        self._capacity = report.figure("capacity, 32 in flight", self._measure(), "webhooks/s")
        self._steady = self._capacity * steady

    def send_too_much(self, times: float) -> None:
        """Send so many times the capacity, and see how it is before, then, and afterwards."""
        before = self._tell("before", self._steady, self._tenants)
        memory_before = _memory_mb(self._rig)
        flooded = self._tell("flooded", self._capacity * times, self._tenants)
        memory_after = _memory_mb(self._rig)
        time.sleep(_NORMAL_AGAIN_S)
        after = self._tell("after", self._steady, self._tenants)
        grown = 100 * (memory_after - memory_before) / memory_before
        judge = self._report.at_most
        judge("flooded: answered 200 or 503, p99", flooded.p99, 1000, "ms")
        judge("web's memory grew by", round(grown, 1), 20, "%")
        judge("two seconds later, p99 against before", after.p99 / before.p99, 2, "times")

    def send_beside_one(self, share_times: float, rounds: int) -> None:
        """Have one business send so many times its share, and see what the others feel."""
        flooder, *others = self._tenants
        share = self._steady / BUSINESSES
        together = share * len(others)
        during, after = [], []
        for nth in range(1, rounds + 1):
            alone = self._tell(f"alone{nth}", together, others)
            with self._load(f"flooder{nth}", share * share_times, [flooder]) as flood:
                flood.start()
                beside = self._tell(f"beside{nth}", together, others)
                self._note(flood, flood.finish())
            time.sleep(_NORMAL_AGAIN_S)
            again = self._tell(f"again{nth}", together, others)
            during.append(beside.p99 / alone.p99)
            after.append(again.p99 / alone.p99)
        for when, ratios in (("beside a flooder", during), ("two seconds later", after)):
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            claim = f"the others' p99 {when}"
            self._report.note(f"{claim}, against alone: {each}")
            self._report.at_most(f"{claim}, median", median(ratios), 2, "times")
        self._tell_refused(flooder, others)

    def _tell_refused(self, flooder: Tenant, others: Sequence[Tenant]) -> None:
        asked: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for plan, outcome in self.sent:
            if plan.run.startswith(("flooder", "beside")):
                for index, status in enumerate(outcome.statuses):
                    number = plan.tenants[index % len(plan.tenants)].number
                    asked[number] += 1
                    refused[number] += status == REFUSED
        rows: list[tuple[str, ...]] = [
            (f"{number}, who floods" if number == flooder.number else number, str(asked[number]),
             str(refused[number]), f"{refused[number] / asked[number]:.1%}")
            for number in (one.number for one in (flooder, *others))
        ]  # fmt: skip
        self._report.table(("business", "sent meanwhile", "refused", "of its own"), rows)

    def _measure(self) -> float:
        plan = Plan(
            self._port, self._tenants, "most", requests=30_000, customers=CUSTOMERS, in_flight=32,
            seconds=5.0,
        )  # fmt: skip
        with Load(plan) as load:
            outcome = load.run()
        self.sent.append((plan, outcome))
        return outcome.answered_per_s

    def _load(self, run: str, rate: float, who: Sequence[Tenant]) -> Load:
        return Load(
            Plan(
                self._port,
                who,
                run,
                requests=round(rate * self._seconds),
                customers=CUSTOMERS,
                in_flight=_CROWD,
                rate=rate,
                seconds=self._seconds,
            )
        )

    def _tell(self, run: str, rate: float, who: Sequence[Tenant]) -> Spread:
        with self._load(run, rate, who) as load:
            return self._note(load, load.run())

    def _note(self, load: Load, outcome: Outcome) -> Spread:
        plan = load.plan
        self.sent.append((plan, outcome))
        told = Counter(outcome.statuses)
        self._report.note(
            f"{plan.run}: {plan.requests} asked, {told[OK]} taken, {told[REFUSED]} refused, "
            f"{told[BROKEN] + plan.requests - len(outcome.statuses)} broken or not sent"
        )
        answered = [
            took_ms
            for took_ms, status in zip(outcome.took_ms, outcome.statuses, strict=True)
            if status != BROKEN
        ]
        return self._report.spread(f"{plan.run}: answered", answered)


def _memory_mb(rig: Rig) -> float:
    root = psutil.Process(rig.pid_of("web"))
    found = sum(one.memory_info().rss for one in [root, *root.children(recursive=True)])
    return float(found) / 1e6
