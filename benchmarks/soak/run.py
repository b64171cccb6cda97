"""Runs a soak: the deployment, the traffic, the faults; then the drain, and the verdict."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Report
from benchmarks.rig import Rig
from benchmarks.soak.baseline import run_baseline, tell_baseline
from benchmarks.soak.checker import Case, Violation, check, undisturbed
from benchmarks.soak.counts import CountReader
from benchmarks.soak.deployment import Deployment, our_commands
from benchmarks.soak.driver import Driver, Line
from benchmarks.soak.evidence import (
    Evidence,
    count_unfinished,
    hurry,
    install_witnesses,
    read_rows,
)
from benchmarks.soak.fakes import RECEIVER, TOLD_FILE, SoakModel, read_told
from benchmarks.soak.faults import Faults
from benchmarks.soak.history import Answer, History
from benchmarks.soak.schedule import Plan, Schedule, make_schedule
from timer_service.clock import epoch_s
from timer_service.demo.gateways import demo_gateways
from timer_service.ids import BusinessId
from timer_service.messages import ProviderName
from timer_service.wiring import build_web

SWEEP_PERIOD_S = 1.0
CALLS_PER_SESSION = 1.05
LONG_DRAIN_S = 400.0
"""The last pause between two tries of a summary is 120 s, and a dead worker's lease 100 s."""
_SETTLE_S = 1.0
_HURRY_AFTER_S = 2.0
_LOOK_EVERY_S = 0.25
_SHOWN = 40


def run(plan: Plan, out: Path, *, with_baseline: bool = False) -> Report:
    """Run a soak, and tell how to run it again where it failed."""
    judged = soak(plan, out, drain_s=LONG_DRAIN_S)
    if judged.violations:
        sys.stdout.write(f"{judged}\n")
    if with_baseline:
        tell_baseline(judged.report, run_baseline(judged.schedule, out))
    return judged.report


def plan_of(report_json: Path) -> Plan:
    """Read the plan of an earlier soak from its report."""
    return Plan(**json.loads(report_json.read_text())["settings"])


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a soak."""

    schedule: Schedule
    violations: Sequence[Violation]
    report: Report

    def __str__(self) -> str:
        """Tell a failure so that it can be run again."""
        lines = [f"{self.schedule.plan}", "", *map(str, self.schedule.faults), ""]
        lines += map(str, self.violations[:_SHOWN])
        lines.append(f"{len(self.violations)} violations")
        return "\n".join(lines)


def soak(plan: Plan, out: Path, *, drain_s: float, is_hurried: bool = False) -> Judged:
    """Run one soak and judge it.

    ``drain_s``: how long what is left may take after the traffic. ``is_hurried``: the sweep is made
    to look at unfinished summaries at once, instead of after their jobs' leases.
    """
    schedule = make_schedule(plan)
    out.mkdir(parents=True, exist_ok=True)
    history = History(out / f"soak-{plan.seed}-history.jsonl")
    report = Report("soak", asdict(plan))
    with ExitStack() as stack:
        stack.callback(history.close)
        rig = stack.enter_context(Rig())
        install_witnesses(rig.database_url)
        told_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "told"
        model = stack.enter_context(SoakModel(history, is_gentle=is_hurried))
        deployment = Deployment(
            rig,
            history,
            {
                "TIMER_SWEEP_PERIOD_S": str(SWEEP_PERIOD_S),
                "OPENAI_BASE_URL": model.url,
                "OPENAI_API_KEY": "sk-of-nobody",
                TOLD_FILE: str(told_file),
            },
        )
        stack.callback(deployment.end)
        lines, keys = _open_shops(rig, plan)
        deployment.start(our_commands(deployment.ports), deployment.is_ready)
        counts = CountReader(deployment.base_urls, keys, history)
        driver = Driver(schedule, lines, deployment.ports, history, give_up_after_s=drain_s)
        faults = Faults(schedule, deployment, history)
        began_s = epoch_s()
        driver.start(began_s)
        stack.callback(driver.stop)
        counts.start()
        stack.callback(counts.stop)
        stack.callback(faults.end)

        def is_over() -> bool:
            faults.tend(epoch_s() - began_s)
            return driver.is_done and faults.are_over

        deployment.pump(is_over, plan.seconds + 2 * drain_s, "all is sent and put right")
        taken = sum(one.acknowledged_us is not None for one in history.sent.values())
        drained_s = _drain(deployment, drain_s, taken, is_hurried=is_hurried)
        counts.stop()
        rows = read_rows(rig.database_url)
        evidence = Evidence(
            gap_us=plan.gap_s * 1_000_000,
            sent=history.sent,
            rows=rows,
            model_calls=history.model_calls,
            told=read_told(told_file),
            counts=history.counts,
            struck=history.struck,
            wrong=history.wrong,
        )
        history.note_all("told", evidence.told)
        deployment.end()
        violations = check(evidence)
        history.note_all("violation", violations)
    _tell(report, evidence, violations, history, drained_s)
    return Judged(schedule, violations, report)


def _open_shops(rig: Rig, plan: Plan) -> tuple[list[list[Line]], dict[str, str]]:
    """Make the businesses, each with a number at both providers, and register the receiver."""
    services = build_web(rig.settings)
    lines: list[list[Line]] = []
    keys: dict[str, str] = {}
    for number in range(plan.shops):
        shop, key = services.administration.add_business(
            {"name": f"Shop {number}", "idle_gap_s": plan.gap_s, "country": "IL"}
        )
        keys[str(shop.id)] = key
        gateways = demo_gateways(secrets.token_bytes(32))
        lines.append([])
        for provider in (ProviderName.META, ProviderName.BAILEYS):
            gateway = gateways[provider]
            connection = services.administration.add_connection(
                BusinessId(shop.id),
                provider=provider,
                external_id=gateway.external_id,
                secrets=gateway.secrets,
            )
            path = "/" + connection.webhook_url.split("/", 3)[3]
            lines[-1].append(Line(gateway, str(shop.id), str(connection.id), path))
    services.service.on_closed(RECEIVER)
    services.database.close()
    return lines, keys


def _drain(deployment: Deployment, within_s: float, taken: int, *, is_hurried: bool) -> float:
    """Wait until all that was taken is stored, closed, summarised and told of.

    Returns how long it took.
    """
    began_s = epoch_s()
    url = deployment.rig.database_url
    unfinished, moved_s, looked_s = -1, began_s, 0.0

    def is_drained() -> bool:
        nonlocal unfinished, moved_s, looked_s
        if epoch_s() - looked_s < _LOOK_EVERY_S:
            return False
        looked_s = epoch_s()
        found = count_unfinished(url, taken)
        if found != unfinished:
            unfinished, moved_s = found, epoch_s()
        elif is_hurried and epoch_s() - moved_s > _HURRY_AFTER_S:
            hurry(url)
            moved_s = epoch_s()
        return found == 0

    try:
        deployment.pump(is_drained, within_s, "everything is closed and summarised")
    except TimeoutError:
        return within_s  # the checker says what is missing
    took_s = epoch_s() - began_s
    # Whatever would be done twice is done by now.
    settled_s = epoch_s() + _SETTLE_S
    deployment.pump(lambda: epoch_s() > settled_s, within_s, "it settles")
    return took_s


def _tell(
    report: Report,
    evidence: Evidence,
    violations: Sequence[Violation],
    history: History,
    drained_s: float,
) -> None:
    case = Case(evidence)
    sessions = evidence.rows.sessions
    done = [one for one in history.struck if one.failure is None]
    report.figure("messages", len(evidence.sent), "")
    report.figure("sessions", len(sessions), "")
    report.figure("customers", len({one.contact_id for one in sessions}), "")
    report.figure("faults done", len(done), f"of {len(history.struck)}")
    for answer in Answer:
        report.figure(f"calls {answer.value}", history.answers.get(answer, 0), "")
    took_ms = [took_us / 1000 for took_us in history.took_us]
    report.spread("webhook acknowledged", took_ms)
    late_ms = [
        (one.closed_us - one.deadline_us) / 1000
        for one in sessions
        if one.closed_us is not None and one.close_reason == "idle"
    ]
    report.spread("closed after its deadline", late_ms)
    report.figure("counts judged", sum(1 for _ in undisturbed(case)), f"of {len(history.counts)}")
    report.figure("summaries by", len(evidence.rows.summaries), _by_summarizer(evidence))
    report.figure("told more than once", _told_again(evidence), "sessions")
    report.figure("waited in a spool", len(case.spooled), "messages")
    report.figure("stored after their session's close", _too_late(case), "of them")
    report.figure("drained", round(drained_s, 1), "s after the last message")
    report.figure("processes that ended by themselves", len(history.deaths), "")
    report.table(
        ("fault", "times"),
        [
            (f"{kind} {target}", str(times))
            for (kind, target), times in sorted(
                Counter((one.kind, one.target) for one in done).items()
            )
        ],
    )
    for one in [one for one in history.struck if one.failure is not None]:
        report.note(f"not done: {one.kind} {one.target}: {one.failure}")
    for death in history.deaths[:_SHOWN]:
        report.note(f"ended by itself: {death.partition(':')[0]}")
    by_kind = Counter(one.kind for one in violations)
    for kind, times in by_kind.items():
        report.at_most(kind, times, 0, "times", rule=True)
    report.at_most("violations", len(violations), 0, "", rule=True)
    asked = sum(one.was_good for one in evidence.model_calls)
    again = sum(case.late_joins(one.id) for one in sessions)
    calls = asked / max(1, len(sessions) + again)
    report.at_most("model calls answered, a session", calls, CALLS_PER_SESSION, "", rule=True)
    report.figure("model calls in all", len(evidence.model_calls), "")


def _by_summarizer(evidence: Evidence) -> str:
    found = Counter(one.summarizer for one in evidence.rows.summaries)
    return json.dumps(found)


def _too_late(case: Case) -> int:
    return sum(
        one.row.stored_us > case.closed_us.get(one.row.session_id, 1 << 62) for one in case.spooled
    )


def _told_again(evidence: Evidence) -> int:
    return sum(times > 1 for times in Counter(one.session_id for one in evidence.told).values())
