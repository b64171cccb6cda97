"""Real deployments for the acceptance tests: `timer-service up`, or its single processes.

Both run on free loopback ports with data of their own. Each process is known by its pid and ended
by it; Linux ends them even where pytest is killed. What callers do to them is in `callers`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import psycopg
from cryptography.fernet import Fernet
from redis import Redis
from rq import Worker

from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from timer_service.child_process import ChildSpec, kill_group, process_identity, start_child
from timer_service.embedded.server import HOST, choose_port
from timer_service.embedded.state import load_notes, load_or_make_secrets
from timer_service.job_queue import QUEUES
from timer_service.live_chats import LiveChats
from timer_service.redis_clients import default_queue_url, queue_client, worker_client

START_WITHIN_S = 60.0
END_WITHIN_S = 20.0
SWEEP_PERIOD_S = 0.5
SHARDS = 1
ADMIN_KEY = "tsa_" + "a" * 43


class Process:
    """One program of ours, its output kept in a log; it may be started again."""

    def __init__(
        self, name: str, *words: str, env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        argv = (sys.executable, "-m", "timer_service", *words)
        self.name = name
        self._spec = ChildSpec(name, argv, env=env, cwd=cwd)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote since it was last started."""
        with self._log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = start_child(self._spec, log)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and return how it ended; one that does not end is killed and fails the test.

        Raises:
            TimeoutExpired: it was still running after a while.
        """
        assert self._process is not None
        self.send(number)
        try:
            return self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()
            raise


class Up:
    """`timer-service up` in a data folder that outlives each of its starts."""

    def __init__(self, folder: Path, *, idle_gap: str = "2s") -> None:
        self.port = choose_port(None)
        self.base_url = f"http://{HOST}:{self.port}"
        self.data = folder / "data"
        words = ("--port", str(self.port), "--data", str(self.data), "--idle-gap", idle_gap)
        env = {**os.environ, "TIMER_SWEEP_PERIOD_S": str(SWEEP_PERIOD_S)}
        self._process = Process("up", "up", *words, env=env, log=folder / "up.log")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def printed_admin_key(self) -> str:
        """The admin key as the latest start printed it."""
        found = re.search(r"Admin key +(\S+)", self._process.said)
        assert found is not None, self._process.said
        return found[1]

    @property
    def redis_url(self) -> str:
        notes, secrets = load_notes(self.data), load_or_make_secrets(self.data)
        assert notes.redis is not None
        return f"redis://:{secrets.redis_password}@{HOST}:{notes.redis.port}/0"

    @property
    def children(self) -> dict[str, int]:
        """The pids of the running children by name."""
        notes = {path.stem: path.read_text() for path in self.data.joinpath("run").glob("*.json")}
        return {name: int(re.search(r'"pid": (\d+)', text)[1]) for name, text in notes.items()}

    def start(self) -> None:
        self._process.start()
        self.wait_until_ready()

    def make_ready(self) -> None:
        """Start it, or let it recover from what the test before did to it."""
        if self._process.is_running:
            self.wait_until_ready()
        else:
            self.start()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, within_s=START_WITHIN_S, what="`up` is ready")

    def stop(self) -> int:
        """Stop it as Ctrl-C does; returns its exit code."""
        return self._process.end(signal.SIGTERM)

    def kill_child(self, name: str) -> None:
        os.kill(self.children[name], signal.SIGKILL)

    def cut_the_power(self) -> None:
        """Kill the supervisor and all its children, giving none a chance to notice the others."""
        os.kill(self.pid, signal.SIGSTOP)
        children = {pid: process_identity(pid) for pid in self.children.values()}
        for pid in children:
            kill_group(pid)
        assert self._process.end(signal.SIGKILL) == -signal.SIGKILL
        for pid, identity in children.items():
            wait_until(lambda: process_identity(pid) != identity, what="the child is gone")  # noqa: B023

    def destroy(self) -> None:
        _end_hurriedly([self._process])
        notes = load_notes(self.data)
        if notes.postgres is not None:  # root's cluster may lie outside of the data folder
            shutil.rmtree((self.data / notes.postgres.cluster).parent, ignore_errors=True)
        shutil.rmtree(self.data.parent, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self._process.is_running, self._process.said
        return is_ready(self.base_url) and "Admin key" in self._process.said


class Parts:
    """The single processes of a deployment, on a Redis and a Postgres the test may hurt."""

    def __init__(self, folder: Path, postgres: PostgresServer, **settings: str) -> None:
        self._folder = folder
        self._postgres = postgres
        self.redis = RedisServer("--appendonly", "no")
        self.database_url = postgres.make_database()
        self.base_url = f"http://{HOST}:{choose_port(None)}"
        self.admin_key = ADMIN_KEY
        metrics = folder / "metrics"
        metrics.mkdir()
        self._env = {
            **os.environ,
            "TIMER_DATABASE_URL": self.database_url,
            "TIMER_REDIS_URL": self.redis.url,
            "TIMER_ADMIN_KEY": ADMIN_KEY,
            "TIMER_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "TIMER_PUBLIC_URL": self.base_url,
            "TIMER_SWEEP_PERIOD_S": str(SWEEP_PERIOD_S),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            **settings,
        }
        port = self.base_url.rpartition(":")[2]
        self.web = self._process("web", "web", "--port", port)
        self.listeners = [self._process(f"listen-{number}", "listen") for number in (1, 2)]
        self.work = self._process("work", "work", "--workers", "1")

    def make_ready(self, *, listeners: int = 1) -> None:
        """Start what does not run and end the listeners that are too many; wait for the rest."""
        for listener in self.listeners[listeners:]:
            if listener.is_running:
                assert listener.end() == 0
        wanted = [self.web, self.work, *self.listeners[:listeners]]
        workers_start = not self.work.is_running
        for process in wanted:
            if not process.is_running:
                process.start()
        wait_until(
            lambda: self._is_ready(wanted, listeners),
            within_s=START_WITHIN_S,
            what="the processes are ready",
        )
        if workers_start:
            self._wait_for_workers()

    @contextmanager
    def dead_redis(self) -> Iterator[None]:
        """Have Redis killed for the block; it comes back empty."""
        self.redis.kill()
        try:
            yield
        finally:
            self.redis.start()

    @contextmanager
    def silent_redis(self) -> Iterator[None]:
        """Have Redis hang for the block, connections open; it comes back with what it had."""
        os.kill(self.redis.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.redis.pid, signal.SIGCONT)

    @property
    def live_chats(self) -> LiveChats:
        """What Redis itself holds."""
        return LiveChats(worker_client(self.redis.url), SHARDS)

    def queue_redis(self) -> Redis:
        return queue_client(default_queue_url(self.redis.url))

    def worker_pid(self, queue: str) -> int:
        """Return the pid of the RQ worker that serves a queue.

        Workers make themselves known to Redis when they start and never again: where an earlier
        test took Redis away, they are started anew.
        """
        if queue not in self._worker_pids():
            assert self.work.end() == 0
            self.work.start()
            self._wait_for_workers()
        return self._worker_pids()[queue]

    def let_pass(self, seconds: int) -> None:
        """Bring everything the sweep is to look at that much nearer."""
        with psycopg.connect(self.database_url, autocommit=True) as db:
            db.execute(
                "UPDATE sessions SET next_check_at = next_check_at - make_interval(secs => %s)",
                [seconds],
            )

    def destroy(self) -> None:
        _end_hurriedly([*self.listeners, self.work, self.web])
        self.redis.destroy()
        self._postgres.drop_database(self.database_url)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _process(self, name: str, *words: str) -> Process:
        return Process(name, *words, env=self._env, log=self._folder / f"{name}.log")

    def _is_ready(self, processes: list[Process], listeners: int) -> bool:
        for process in processes:
            assert process.is_running, process.said
        with Redis.from_url(self.redis.url) as client:
            subscribed = len(client.client_list("pubsub"))
        return subscribed >= listeners and is_ready(self.base_url)

    def _wait_for_workers(self) -> None:
        wait_until(
            lambda: self._worker_pids().keys() == set(QUEUES),
            within_s=START_WITHIN_S,
            what="each queue has its worker",
        )

    def _worker_pids(self) -> dict[str, int]:
        with self.queue_redis() as client:
            workers = Worker.all(client)
        alive = [one for one in workers if one.pid and process_identity(one.pid) is not None]
        return {queue: one.pid for one in alive for queue in one.queue_names()}


def _end_hurriedly(processes: Sequence[Process]) -> None:
    running = [process for process in processes if process.is_running]
    for process in running:
        process.send(signal.SIGTERM)
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.end()  # a second signal hurries those that supervise others


def is_alive(base_url: str) -> bool:
    """Tell whether the web process answers at all."""
    try:
        answer = httpx2.get(f"{base_url}/healthz", timeout=2, trust_env=False)
    except httpx2.HTTPError:
        return False
    return answer.status_code == 200


def children_of(parent: int) -> set[int]:
    """Return the pids of a process's living children (Linux)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == parent and fields[0] not in "ZX":
            found.add(int(path.parent.name))
    return found


def is_ready(base_url: str) -> bool:
    """Tell whether the web process answers and has everything it depends on."""
    try:
        answer = httpx2.get(f"{base_url}/readyz", timeout=2, trust_env=False)
    except httpx2.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ready"
