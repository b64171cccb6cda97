"""The deployment a soak hurts: two web processes, two listeners, two workers, and their keeper.

The keeper does what `timer_service.supervisor` does to one that died, except that it never gives
up, and leaves alone what a fault holds down. It runs in the thread that made it: Linux ends a child
with the thread that started it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from redis import Redis, RedisError

from benchmarks.rig import Rig
from benchmarks.soak.history import History
from benchmarks.soak.schedule import (
    BEYOND,
    CALLERS,
    LISTENERS,
    POSTGRES,
    POSTGRES_WAY,
    REDIS,
    REDIS_WAY,
    WEBS,
    WORKERS,
)
from tests.support.tcp_proxy import TcpProxy
from timer_service.child_process import ChildSpec, describe_end, kill_group
from timer_service.clock import monotonic_s
from timer_service.embedded.server import HOST, choose_port
from timer_service.job_queue import CALLBACKS_QUEUE, SUMMARIES_QUEUE
from timer_service.redis_clients import worker_client
from timer_service.up import _is_ready

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0
FAST_DEATH_S = 5.0
TEND_EVERY_S = 0.02
READY_WITHIN_S = 240.0


@dataclass
class _Kept:
    """A process that is to run. ``blamed`` counts the faults that may end it just now."""

    process: subprocess.Popen[bytes]
    began_s: float
    pause_s: float = FIRST_PAUSE_S
    again_at_s: float | None = None
    held: bool = False
    blamed: bool = False


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between ours and the baseline, for whoever hurts it."""

    live_keys: str
    """Pattern of the Redis keys that tell who is active."""
    table: str
    """What a careless migration locks."""
    heals_notifications: bool
    """Whether notifications that were turned off come back by themselves."""


OURS = Flavour("ts:*:live:*", "sessions", heals_notifications=True)


class Deployment:
    """Servers and processes, each by its name in the schedule."""

    def __init__(
        self, rig: Rig, history: History, settings: Mapping[str, str], flavour: Flavour = OURS
    ) -> None:
        self.rig = rig
        self.flavour = flavour
        self._history = history
        self._kept: dict[str, _Kept] = {}
        self.ports = [choose_port(None) for _ in WEBS]
        rig.env.update(settings, TIMER_PUBLIC_URL=f"http://{HOST}:{self.ports[0]}")
        self.ways = {
            REDIS_WAY: TcpProxy.before(rig.redis_url),
            POSTGRES_WAY: TcpProxy.before(rig.database_url),
        }
        for name in (POSTGRES, REDIS):
            self._kept[name] = _Kept(rig.process_of(name), monotonic_s())

    @property
    def base_urls(self) -> list[str]:
        """Where the web processes answer."""
        return [f"http://{HOST}:{port}" for port in self.ports]

    def start(self, commands: Mapping[str, Sequence[str]], is_ready: Callable[[], bool]) -> None:
        """Start all processes at once, and wait until they are ready."""
        beyond = {
            **self.rig.env,
            "TIMER_REDIS_URL": self.ways[REDIS_WAY].url(self.rig.redis_url),
            "TIMER_DATABASE_URL": self.ways[POSTGRES_WAY].url(self.rig.database_url),
        }
        for name, argv in commands.items():
            env = beyond if name in BEYOND else self.rig.env
            if name in WEBS:  # each on a machine, and so with a disk, of its own
                env = {**env, "TIMER_SPOOL_DIR": str(self.rig.folder / f"spool-{name}")}
            self._kept[name] = _Kept(self.rig.begin(ChildSpec(name, argv, env=env)), monotonic_s())
        self.pump(lambda: self.is_up() and is_ready(), READY_WITHIN_S, "the deployment is ready")

    def is_up(self) -> bool:
        """Tell whether every process runs."""
        return all(one.process.poll() is None for one in self._kept.values())

    def is_ready(self) -> bool:
        """Tell whether every process runs, and both web processes find all they depend on."""
        return self.is_up() and all(_is_ready(url) for url in self.base_urls)

    def pump(self, condition: Callable[[], object], within_s: float, what: str) -> None:
        """Keep everything up until a condition holds.

        Raises:
            TimeoutError: it did not come true in time.
        """
        deadline_s = monotonic_s() + within_s
        while not condition():
            if monotonic_s() > deadline_s:
                raise TimeoutError(f"{what}: not within {within_s:g} s")
            self.tend()
            time.sleep(TEND_EVERY_S)

    def tend(self) -> None:
        """Start again whatever died, after a pause that grows with each early death."""
        now_s = monotonic_s()
        for name, one in self._kept.items():
            if one.again_at_s is None and one.process.poll() is not None:
                self._bury(name, one, now_s)
            if one.again_at_s is not None and now_s >= one.again_at_s and not one.held:
                one.process = self.rig.begin(self.rig.spec_of(name))
                one.began_s, one.again_at_s, one.blamed = now_s, None, False
                self._history.note("started", name=name)

    def end(self) -> None:
        """Kill all processes, not the servers: nothing they do matters any more."""
        for proxy in self.ways.values():
            proxy.close()
        for name, one in self._kept.items():
            if name not in {POSTGRES, REDIS}:
                kill_group(one.process.pid)

    def hold(self, name: str) -> None:
        """Let a process that ends stay down, until `release`."""
        self._kept[name].held = True
        self._kept[name].blamed = True

    def release(self, name: str) -> None:
        """Start it again."""
        self._kept[name].held = False

    def blame(self, name: str) -> None:
        """Expect a process to end: a fault does it."""
        self._kept[name].blamed = True

    def pid_of(self, name: str) -> int:
        """Return the pid of a process, dead or alive."""
        return self._kept[name].process.pid

    def tree_of(self, name: str) -> list[int]:
        """Return a process and all its descendants, itself first (Linux)."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                # proc_pid_stat(5): the name may hold anything; the parent is the second after it
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(stat.parent.name))
        tree = [self.pid_of(name)]
        for pid in tree:
            tree += children.get(pid, [])
        return tree

    def redis(self) -> Redis:
        """Make a client of the Redis that keeps the live keys."""
        return worker_client(self.rig.redis_url)

    def postgres(self) -> psycopg.Connection:
        """Connect to Postgres, each statement for itself."""
        return psycopg.connect(self.rig.database_url, autocommit=True, connect_timeout=3)

    def answers(self, server: str) -> bool:
        """Tell whether Redis or Postgres serves."""
        try:
            if server == REDIS:
                with self.redis() as client:
                    return bool(client.ping())
            with self.postgres() as db:
                return db.execute("SELECT 1").fetchone() is not None
        except (RedisError, psycopg.Error):
            return False

    def forget_redis_data(self) -> None:
        """Remove what Redis wrote to its disk; it must be down."""
        folder = self.rig.spec_of(REDIS).cwd
        assert folder is not None
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.suffix != ".conf" and path.is_file():
                path.unlink()

    def _bury(self, name: str, one: _Kept, now_s: float) -> None:
        if name != POSTGRES:  # its children end by themselves, and may be writing
            kill_group(one.process.pid)
        end = describe_end(one.process.returncode)
        self._history.note("ended", name=name, end=end, by_fault=one.blamed)
        if not one.blamed:
            self._history.deaths.append(f"{name} {end}:\n{self.rig.log_of(name)}")
        is_fast = now_s - one.began_s < FAST_DEATH_S and not one.blamed
        one.pause_s = min(2 * one.pause_s, LONGEST_PAUSE_S) if is_fast else FIRST_PAUSE_S
        one.again_at_s = now_s + one.pause_s


def our_commands(ports: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Return how each of our processes is started."""
    words = {
        **dict.fromkeys(LISTENERS, ("listen",)),
        **{name: ("web", "--port", str(port)) for name, port in zip(WEBS, ports, strict=True)},
        **dict.fromkeys(WORKERS, ("work", "--queue", SUMMARIES_QUEUE)),
        **dict.fromkeys(CALLERS, ("work", "--queue", CALLBACKS_QUEUE)),
    }
    return {name: (sys.executable, "-m", "timer_service", *some) for name, some in words.items()}
