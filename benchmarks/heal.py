"""How soon all is well again after a fault: sessions fall due all the time, and faults strike.

A fault is healed with the last close that came more than 50 ms after its deadline, counted from
when the fault was over (of a killed process: its death; of a silent server: its waking), and where
Redis was hurt, not before its numbers can be trusted. The second part kills workers while the model
thinks.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg
from redis import Redis

from benchmarks.handoff import MESSAGES
from benchmarks.observing import Row, read_rows
from benchmarks.report import Report
from benchmarks.rig import Rig, wait_until
from benchmarks.seeding import Due, seed, time_to_arm_s
from timer_service.clock import epoch_s
from timer_service.embedded.server import HOST, choose_port
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId, SessionId
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.keys import Member
from timer_service.live_chats import LiveChats
from timer_service.redis_clients import worker_client
from timer_service.settings import load_settings
from timer_service.up import SUMMARY_WORKERS
from timer_service.wiring import build_background

LATE_S = 0.05
SILENT_S = 5.0
_BETWEEN_S = 12.0
"""From one fault to the next: what heals more slowly has missed every goal anyway."""
_RESTART_S = 0.2  # the supervisor's first pause
_MODEL_MS = 3_000
_MOST_LISTENERS = 2


@dataclass(frozen=True, slots=True)
class _Fault:
    """``strike`` does it and returns when it was over. ``goal_s``: healed within."""

    name: str
    goal_s: float
    strike: Callable[[Rig], float]


@dataclass(frozen=True, slots=True)
class _Stroke:
    fault: _Fault
    began_at_s: float
    over_at_s: float
    trusted_at_s: float

    def healed_s(self, rows: list[Row], until_s: float) -> float:
        """Return how long after the fault the last late close came, 0 where none was late."""
        late_at_s = [
            row.committed_at_s
            for row in rows
            if self.began_at_s <= row.deadline_at_s < until_s
            and row.committed_at_s is not None
            and row.committed_at_s - row.deadline_at_s > LATE_S
        ]
        return max(0.0, max([self.trusted_at_s, *late_at_s]) - self.over_at_s)

    def worst_late_s(self, rows: list[Row], until_s: float) -> float:
        """Return by how much the latest close was late."""
        return max(
            (
                row.committed_at_s - row.deadline_at_s
                for row in rows
                if self.began_at_s - 1 <= row.deadline_at_s < until_s
                and row.committed_at_s is not None
            ),
            default=0.0,
        )


def _kill_one_listener(rig: Rig) -> float:
    rig.kill("listen-2")
    return epoch_s()


def _restart_listener(rig: Rig) -> float:
    with suppress(KeyError):
        rig.kill("listen-2")
    rig.kill("listen")
    over_at_s = epoch_s()
    time.sleep(_RESTART_S)
    rig.start_again("listen")
    return over_at_s


def _restart_redis(rig: Rig) -> float:
    rig.kill("redis")
    rig.start_again("redis")
    return epoch_s()


def _wipe_redis(rig: Rig) -> float:
    with Redis.from_url(rig.redis_url) as client:
        client.flushall()
    return epoch_s()


def _restart_postgres(rig: Rig) -> float:
    rig.kill("postgres")
    rig.start_again("postgres")
    return epoch_s()


def _silence(name: str) -> Callable[[Rig], float]:
    def strike(rig: Rig) -> float:
        with rig.frozen(name):
            time.sleep(SILENT_S)
        return epoch_s()

    return strike


_FAULTS = (
    _Fault("one of two listeners killed", 1, _kill_one_listener),
    _Fault("the only listener killed, started again", 3, _restart_listener),
    _Fault("Redis killed and started", 2, _restart_redis),
    _Fault("Redis wiped", 2, _wipe_redis),
    _Fault("Postgres killed and started", 5, _restart_postgres),
    _Fault("Redis silent for 5 s", 5, _silence("redis")),
    _Fault("Postgres silent for 5 s", 5, _silence("postgres")),
)
_SUMMARY_GOAL_S = 30.0


def run(*, times: int = 5, live: int = 20_000, rate: int = 100) -> Report:
    """Let each fault strike so many times."""
    report = Report("heal", {"times": times, "live": live, "due_per_s": rate})
    rows: list[tuple[str, ...]] = []
    strokes, closed = _strike_all(times, live, rate)
    for fault in _FAULTS:
        its = [index for index, one in enumerate(strokes) if one.fault is fault]
        healed_s = []
        late_s = []
        for index in its:
            until_s = (
                strokes[index + 1].began_at_s
                if index + 1 < len(strokes)
                else strokes[index].began_at_s + _BETWEEN_S
            )
            healed_s.append(strokes[index].healed_s(closed, until_s))
            late_s.append(strokes[index].worst_late_s(closed, until_s))
        rows.append(_tell(report, fault.name, healed_s, fault.goal_s, max(late_s)))
    waited_s = _kill_workers(times)
    rows.append(_tell(report, "worker killed mid-summary", waited_s, _SUMMARY_GOAL_S, None))
    report.table(("fault", "times", "healed p50", "max", "goal", "latest close"), rows)
    early = sum(
        one.committed_at_s is not None and one.committed_at_s < one.deadline_at_s for one in closed
    )
    lost = sum(one.committed_at_s is None for one in closed)
    report.at_most("closed early", early, 0, "sessions", rule=True)
    report.at_most("never closed", lost, 0, "sessions", rule=True)
    return report


def _tell(
    report: Report, name: str, healed_s: list[float], goal_s: float, late_s: float | None
) -> tuple[str, ...]:
    spread = report.spread(name, [1000 * one for one in healed_s], listed=False)
    report.at_most(f"{name}: healed, max", round(spread.max / 1000, 3), goal_s, "s")
    return (
        name,
        str(len(healed_s)),
        f"{spread.p50 / 1000:.2f} s",
        f"{spread.max / 1000:.2f} s",
        f"{goal_s:g} s",
        "" if late_s is None else f"{late_s:.2f} s late",
    )


def _strike_all(times: int, live: int, rate: int) -> tuple[list[_Stroke], list[Row]]:
    strokes: list[_Stroke] = []
    lasts_s = times * len(_FAULTS) * (_BETWEEN_S + SILENT_S) + _BETWEEN_S
    with Rig() as rig:
        due_at_s = epoch_s() + time_to_arm_s(live + round(rate * lasts_s)) + 5
        seed(
            rig.database_url,
            [Due(live, due_at_s + 3600), Due(round(rate * lasts_s), due_at_s, lasts_s)],
        )
        for number in range(1, _MOST_LISTENERS + 1):
            rig.start_listener("listen" if number == 1 else f"listen-{number}")
        client = worker_client(rig.redis_url)
        chats = LiveChats(client, 1)
        wait_until(lambda: _is_trusted(chats), "all sessions are armed", 120)
        time.sleep(max(0.0, due_at_s + 2 - epoch_s()))
        for _ in range(times):
            for fault in _FAULTS:
                began_at_s = epoch_s()
                over_at_s = fault.strike(rig)
                wait_until(lambda: _is_trusted(chats), "Redis's numbers can be trusted")
                strokes.append(_Stroke(fault, began_at_s, over_at_s, epoch_s()))
                time.sleep(max(0.0, over_at_s + _BETWEEN_S - epoch_s()))
            rig.start_again("listen-2")
        ended_at_s = epoch_s()
        time.sleep(_BETWEEN_S)
        client.close()
        rig.stop("listen")
        rig.stop("listen-2")
        return strokes, read_rows(rig.database_url, ended_at_s)


def _is_trusted(chats: LiveChats) -> bool:
    try:
        return chats.is_trusted(0)
    except RedisUnavailable:
        return False


def _kill_workers(times: int) -> list[float]:
    """Kill every worker mid-summary, so many times; return from each death to its summary."""
    waited_s: list[float] = []
    port = choose_port(None)
    with Rig() as rig:
        rig.env |= {
            "TIMER_SUMMARIZER": "openai",
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": f"http://{HOST}:{port}/v1",
        }
        argv = (sys.executable, "-m", "benchmarks.handoff", str(port), f"{_MODEL_MS}")
        rig.start("model", argv)
        seed(rig.database_url, [Due(times * SUMMARY_WORKERS, epoch_s() + 3600)], businesses=1)
        with psycopg.connect(rig.database_url, autocommit=True) as db:
            db.execute("DROP TRIGGER bench_summarised_later ON sessions")
            db.execute(MESSAGES)
            found = db.execute("SELECT business_id, id FROM sessions ORDER BY id").fetchall()
            members = [Member(BusinessId(shop), SessionId(session)) for shop, session in found]
            rig.start_listener()
            rig.start_service("work", "work", "--workers", str(SUMMARY_WORKERS))
            background = build_background(
                load_settings(database_url=rig.database_url, redis_url=rig.redis_url)
            )

            def count(what: str) -> int:
                row = db.execute(what.encode()).fetchone()
                return int(row[0]) if row else 0

            running = "SELECT count(*) FROM sessions WHERE summary_status = 'running'"
            for first in range(0, len(members), SUMMARY_WORKERS):
                batch = members[first : first + SUMMARY_WORKERS]
                db.execute(
                    "UPDATE sessions SET deadline_at = now(), due_not_before = 'epoch' "
                    "WHERE id = ANY(%s)",
                    ([one.session_id for one in batch],),
                )
                background.closer.close_claimed(batch)
                wait_until(lambda: count(running) == SUMMARY_WORKERS, "the model is asked", 240)
                _kill_summary_workers(rig.pid_of("work"))
                died_at_s = epoch_s()
                for wanted in range(first + 1, first + len(batch) + 1):
                    wait_until(
                        lambda: count("SELECT count(*) FROM summaries") >= wanted,  # noqa: B023
                        "the summary is there",
                        120,
                    )
                    waited_s.append(epoch_s() - died_at_s)
            background.database.close()
    return waited_s


def _kill_summary_workers(supervisor: int) -> None:
    for child in psutil.Process(supervisor).children():
        with suppress(psutil.NoSuchProcess):
            if SUMMARIES_QUEUE in child.cmdline():
                child.send_signal(signal.SIGKILL)
