"""Runs a scenario in a process that fails at one chosen call, heals, and says what is wrong.

    with KillPoints(postgres, redis) as points:
        points.calls_of("merge")                          # what it asks of the outside, in order
        points.try_at("merge", Point.read("cut:after:7"))  # what is wrong afterwards: nothing

The method is SQLite's: fail at call 1, 2, 3 … until a run ends without having been hit. The healing
is what other processes do anyway: the gateway repeats what was not answered, the pacer lends claims
whose lease ended, the sweep runs, workers work off what is queued.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from structlog.testing import capture_logs

from tests.support.builders import World
from tests.support.external_calls import Fault, Point, When
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_model import FakeModel
from tests.support.invariants import not_stored, violations, watch_closings
from tests.support.kill_scenarios import (
    GAP_S,
    GATEWAY_URL,
    SCENARIOS,
    TAKEN_FILE,
    TOLD_FILE,
    WORK_OFF,
    Args,
    Scenario,
)
from tests.support.servers import PostgresServer, RedisServer
from tests.support.time_travel import pass_time
from timer_service.audit import Auditor
from timer_service.demo.gateway import Sent
from timer_service.demo.loopback_server import Request
from timer_service.errors import TimerServiceError
from timer_service.ids import BusinessId
from timer_service.pacer import GRACE_MS, LEASE_MS

ROOT = Path(__file__).parents[2]
ALL_POINTS = [(fault, when) for fault in Fault for when in When]

_FORESEEN = {"DatabaseUnavailable", "RedisUnavailable", "SpoolFull"}
"""What a duty may raise when a connection or a file fails: its caller knows what to do."""
_LOOK_AGAIN_S = 110
"""Longer than every lease and every pause after which the sweep looks."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one process."""

    state: str
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def calls(self) -> list[str]:
        return [one["call"] for one in self.told if "call" in one]

    @property
    def has_returned(self) -> bool:
        return any("returned" in one for one in self.told)

    def complaints(self) -> Iterator[str]:
        """Yield what no fault explains."""
        if self.state == "overran":
            yield f"it did not end in time; its last call was {self.calls[-1:]}"
        for one in self.told:
            if "error" in one:
                yield f"it logged {one['error']}: {one['says']}"
            if one.get("raised", "DatabaseUnavailable") not in _FORESEEN:
                yield f"it raised {one['raised']}: {one['says']}"


class NotingGateway(FakeGateway):
    """A gateway that notes in a file which of our messages it took."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def note(self, request: Request, sent: Sent | None) -> None:
        super().note(request, sent)
        if sent is not None:
            with (self._folder / TAKEN_FILE).open("a") as lines:
                lines.write(f"{sent.our_id}\n")


class Runner:
    """The process whose forks run the scenarios."""

    def __init__(self, **environ: str) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "http")))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kill_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **environ},
        )
        assert self._answer()["state"] == "ready"

    def start(self, act: str, args: Args, point: Point | None = None) -> Run:
        return self._order(act=act, args=args, point=str(point) if point else None)

    def go_on(self) -> Run:
        return self._order(go_on=True)

    def _order(self, **order: object) -> Run:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Run(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise AssertionError(f"the runner died: {self._log.read().decode()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(30)
        self._log.close()


class KillPoints:
    """One world, made anew for every point."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer) -> None:
        self._stack = ExitStack()
        redis.make_new()
        url = postgres.make_database()
        self._stack.callback(postgres.drop_database, url)
        self.world = self._stack.enter_context(World(url, redis.url))
        watch_closings(self.world)
        model = self._stack.enter_context(FakeModel())
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="timer-kill-points-"))
        self._told_file = Path(folder) / "told"
        self._files = Path(folder) / "files"
        self._files.mkdir()
        gateway = self._stack.enter_context(NotingGateway(self._files))
        self._stack.enter_context(patch.dict(os.environ, {GATEWAY_URL: gateway.url}))
        environ = {
            "TIMER_DATABASE_URL": url,
            "TIMER_REDIS_URL": redis.url,
            "TIMER_ENCRYPTION_KEYS": self.world.encryption_key,
            "TIMER_SUMMARIZER": "extractive",
            "KILL_POINTS_MODEL": model.url,
            TOLD_FILE: str(self._told_file),
        }
        self._runner = Runner(**environ)
        self._stack.callback(self._runner.close)

    def calls_of(self, name: str) -> list[str]:
        """Run a scenario in peace; return the calls it makes.

        Raises:
            AssertionError: even in peace something is wrong.
        """
        args = self._prepare(SCENARIOS[name])
        run = self._runner.start(name, args)
        wrong = [*run.complaints(), *self._wrong_afterwards(SCENARIOS[name], args, run)]
        assert run.has_returned, run
        assert not wrong, f"{name} in peace: {wrong}"
        return run.calls

    def try_at(self, name: str, point: Point) -> list[str] | None:
        """Return what is wrong after a fault at a point; None where the point was not reached."""
        scenario = SCENARIOS[name]
        args = self._prepare(scenario)
        run = self._runner.start(name, args, point)
        if run.state == "stopped":
            self._end_transactions_of_the_stopped()
            before = self._wrong_afterwards(scenario, args, run)
            run = self._runner.go_on()
            wrong = [f"while it hung: {one}" for one in before if not scenario.keeps_others_waiting]
        elif len(run.calls) < point.call:
            return None
        else:
            wrong = []
        return [
            *wrong,
            *run.complaints(),
            *self._wrong_afterwards(scenario, args, run, has_hung=point.fault is Fault.HANG),
            *self._wrong_in_the_end(args),
            *(f"in the end: {one}" for one in scenario.end(self.world, args)),
        ]

    def _wrong_afterwards(
        self, scenario: Scenario, args: Args, run: Run, *, has_hung: bool = False
    ) -> list[str]:
        """Check what was promised, let the others do their work, and check all."""
        lost = not_stored(self.world, args["messages"]) if run.has_returned else []
        broken = [f"acknowledged and not stored: {one}" for one in lost]
        with capture_logs() as logged:
            if scenario.repeats:
                self._repeat(scenario, args)
            for _ in range(2):
                self._let_others_work()
        self._work_off()
        errors = [one["event"] for one in logged if one["log_level"] == "error"]
        return [
            *broken,
            *(f"a process that healed logged {one}" for one in errors),
            *violations(
                self.world,
                messages=args["messages"],
                told_file=self._told_file,
                has_hung=has_hung,
            ),
            *scenario.check(self.world, args),
        ]

    def _repeat(self, scenario: Scenario, args: Args) -> None:
        try:
            scenario.act(self.world, args)
        except TimerServiceError:
            if not scenario.keeps_others_waiting:
                raise

    def _wrong_in_the_end(self, args: Args) -> list[str]:
        """Let every customer fall silent: each session closes once and Redis holds none."""
        self._let_others_work(after_s=GAP_S + 1)
        self._work_off()
        wrong = violations(self.world, messages=args["messages"], told_file=self._told_file)
        wrong += [f"{one.id} never closed" for one in self.world.sessions() if one.is_open]
        return [f"in the end: {one}" for one in wrong]

    def _let_others_work(self, *, after_s: float = _LOOK_AGAIN_S) -> None:
        world = self.world
        pass_time(world, after_s)
        world.spools._read_at_s = None  # what closers know of spools may be a moment old
        (paced,) = world.live_chats.pace([0], grace_ms=GRACE_MS, lease_ms=LEASE_MS, limit=1000)
        world.closer.close_claimed([*paced.taken_over, *paced.lent_again])
        world.sweeper.sweep_once()

    def _work_off(self) -> None:
        jobs = self.world.queued()
        self.world.queue_redis.flushdb()
        if jobs:
            run = self._runner.start(WORK_OFF, {"jobs": jobs})
            assert run.has_returned, run

    def _end_transactions_of_the_stopped(self) -> None:
        """Do at once what Postgres does after idle_in_transaction_session_timeout, two seconds."""
        self.world.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE state LIKE 'idle in transaction%' AND datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )

    def _prepare(self, scenario: Scenario) -> Args:
        """Make the world anew, and in it what a scenario begins with."""
        self._start_anew()
        return {**scenario.prepare(self.world), "files": str(self._files)}

    def _start_anew(self) -> None:
        world = self.world
        world.redis.flushall()
        # Who comes first loads what is missing, which is a call more: so each run begins without.
        world.redis.script_flush()
        for table in ("noted_closings", "close_callbacks", "duties", "businesses"):
            world.run(f"DELETE FROM {table}")
        business, world.manager_key = world.administration.add_business({"name": "Shop"})
        world.business_id = BusinessId(business.id)
        world.connection_id = world.add_connection("the shop's number")
        world.auditor = Auditor(world.database, world.live_chats, world.armer)
        world.sweeper = world.make_sweeper()
        self._told_file.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)
        self._files.mkdir()
        world.trust()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
