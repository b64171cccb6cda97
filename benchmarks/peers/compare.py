"""Runs the same work on each engine, one after another, and puts them side by side."""

from __future__ import annotations

import pkgutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console

from benchmarks.peers.engine import BATCH, Engine
from benchmarks.peers.timers import STAMPS_FILE, Fired, Work, judge, read_stamps
from benchmarks.report import Report, Spread
from benchmarks.rig import Rig
from timer_service.clock import epoch_s, monotonic_s

OURS = "ours"
ENGINES = {
    "plain": "on_plain_keys:PlainKeys",
    "tuned": "on_plain_keys:TunedPlainKeys",
    "rq": "on_rq:RqTimers",
    "celery": "on_celery:CeleryTimers",
    "apscheduler": "on_apscheduler:ApschedulerTimers",
    "bullmq": "on_bullmq:BullmqTimers",
    OURS: "on_live_chats:OurLiveChats",
}
"""What can be compared, by the name the command line knows; ours comes last."""

GRACE_S = 5.0
"""How long what is late is waited for when everything was due."""
_HOLD_S = 240.0
"""How far away everything is that must not fall due while it is watched."""
_LEAD_S = 2.0
_TWICE_WITHIN_S = 1.0
_RESET_AMONG = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """One engine's line of the table."""

    engine: type[Engine]
    live: int
    resets_per_s: float
    batched_per_s: float | None
    fired: Fired
    lateness: Spread
    cpu_s: dict[str, float]


def run(
    *,
    live: int = 100_000,
    gap_s: float = 900.0,
    seconds: float = 30.0,
    reset_seconds: float = 3.0,
    engines: Sequence[str] = tuple(ENGINES),
    seed: int = 1,
) -> Report:
    """Compare engines; ours is among them whether it was named or not.

    Each gets a fresh server, configured as `up` does it, without Postgres: it is loaded with
    ``live`` timers, resets random ones for ``reset_seconds`` one at a time and as long again many
    at once, and is watched for ``seconds`` while the natural rate falls due.
    """
    report = Report(
        "peers",
        {"live": live, "gap_s": gap_s, "seconds": seconds, "reset_seconds": reset_seconds},
    )
    console = Console(stderr=True)
    rows = []
    for name in dict.fromkeys([*(one for one in engines if one != OURS), OURS]):
        missing = _why_not(name)
        if missing is not None:
            report.note(f"{name} is left out: {missing}")
            continue
        console.print(f"{name} ...")
        engine: type[Engine] = pkgutil.resolve_name(f"benchmarks.peers.{ENGINES[name]}")
        work = Work(min(live, engine.most_live), gap_s, seconds)
        rows.append(measure(engine, work, reset_seconds=reset_seconds, rng=Random(seed)))
    _tell(report, rows)
    return report


def run_short() -> Report:
    """Compare ours with plain notifications and RQ in about 40 s, for `gate`."""
    return run(live=20_000, seconds=6.0, reset_seconds=1.0, engines=("plain", "rq"))


def measure(engine: type[Engine], work: Work, *, reset_seconds: float, rng: Random) -> Row:
    """Give one engine its work."""
    with tempfile.TemporaryDirectory() as folder, Rig(postgres=False) as rig:
        stamps = Path(folder) / "stamps"
        rig.env[STAMPS_FILE] = str(stamps)
        running = engine(rig)
        try:
            began_s = monotonic_s()
            running.load(work.later_deadlines(epoch_s() + _HOLD_S, rng))
            load_s = (monotonic_s() - began_s) / len(work.later)
            running.settle()
            among = rng.sample(work.later, min(len(work.later), _RESET_AMONG))
            one = running.resets_per_s(among, work.gap_s, 1, reset_seconds)
            many = None
            if running.batches:
                many = running.resets_per_s(among, work.gap_s, BATCH, reset_seconds)
            running.settle()
            lead_s = _LEAD_S + 3 * load_s * len(work.due)
            asked = work.due_deadlines(epoch_s() + lead_s, rng)
            running.load(asked)
            deadlines = running.held(asked)
            if min(deadlines.values()) < epoch_s():
                raise RuntimeError(f"{engine.label}: the first was due before all were loaded")
            rig.begin_cpu()
            fired = _watch(deadlines, stamps)
            cpu_s = rig.cpu_s()
        finally:
            running.close()
    return Row(engine, work.live, one, many, fired, Spread.of(fired.lateness_ms), cpu_s)


def _watch(deadlines: Mapping[int, float], stamps: Path) -> Fired:
    """Wait until everything fired and time was left to fire twice, or until it is too late."""
    last_s = max(deadlines.values())
    time.sleep(max(0.0, last_s - epoch_s()))
    while True:
        ended_s = epoch_s()
        fired = judge(deadlines, read_stamps(stamps), ended_s)
        waited_s = ended_s - last_s
        if waited_s > GRACE_S or (waited_s > _TWICE_WITHIN_S and not fired.missing):
            return fired
        time.sleep(0.1)


def _why_not(name: str) -> str | None:
    if name != "bullmq":
        return None
    from benchmarks.peers.on_bullmq import why_not  # noqa: PLC0415 - only where it is asked for

    return why_not()


def _tell(report: Report, rows: Sequence[Row]) -> None:
    for row in rows:
        label = row.engine.label
        report.spread(label, row.fired.lateness_ms, listed=False)
        report.cpu_s.update({f"{label} {name}": spent for name, spent in row.cpu_s.items()})
    columns = ("engine", "live", "resets/s", "batched", "p50 ms", "p99 ms", "max ms")
    report.table(
        (*columns, "early", "missing", "twice", "durable"),
        [_cells(row) for row in rows],
    )
    for row in rows:
        report.note(f"{row.engine.label}: {row.engine.note}")
    report.note(
        f"missing: not fired {GRACE_S:g} s after the last was due; it counts as late as it was "
        "then, hence ≥. batched: each engine's best way to reset many from one client. durable: "
        "fires on time although its process was killed and started again."
    )
    *peers, ours = rows
    for what, count in (
        ("early", ours.fired.early),
        ("missing", ours.fired.missing),
        ("twice", ours.fired.twice),
    ):
        report.at_most(f"ours, {what}", count, 0, "timers", rule=True)
    for peer in peers:
        label, must = peer.engine.label, peer.engine.survives
        report.at_most(
            f"lateness p99, ours against {label}",
            ours.lateness.p99,
            peer.lateness.p99,
            "ms",
            rule=must,
        )
        report.at_least(
            f"resets, ours against {label}",
            ours.resets_per_s,
            peer.resets_per_s,
            "/s",
            rule=must and peer.engine.in_python,
        )
        if peer.batched_per_s is not None and ours.batched_per_s is not None:
            report.at_least(
                f"resets batched, ours against {label}",
                ours.batched_per_s,
                peer.batched_per_s,
                "/s",
            )


def _few_digits(ms: float) -> str:
    return f"{ms:,.1f}" if ms < 1000 else f"{ms:,.0f}"


def _cells(row: Row) -> tuple[str, ...]:
    at_least = "≥ " if row.fired.missing else ""
    spread = row.lateness
    return (
        row.engine.label,
        f"{row.live:,}",
        f"{row.resets_per_s:,.0f}",
        "-" if row.batched_per_s is None else f"{row.batched_per_s:,.0f}",
        *(f"{at_least}{_few_digits(ms)}" for ms in (spread.p50, spread.p99, spread.max)),
        str(row.fired.early),
        str(row.fired.missing),
        str(row.fired.twice),
        "yes" if row.engine.survives else "no",
    )
