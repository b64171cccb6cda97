"""A deployment to measure: its own Redis and Postgres, as `up` starts them, and our processes.

Every benchmark opens one. Whatever it started has ended when the block ends; Linux sees to that
even where the benchmark is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from timer_service.child_process import ChildSpec, kill_group, last_lines, start_child
from timer_service.clock import monotonic_s
from timer_service.embedded import DataDirectory, prepare_postgres, prepare_redis
from timer_service.embedded.server import HOST, choose_port
from timer_service.migrate import migrate
from timer_service.redis_clients import default_queue_url
from timer_service.settings import Settings
from timer_service.up import _is_ready, _listens

START_WITHIN_S = 120.0
STOP_WITHIN_S = 15.0


def wait_until(condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition, looking every 10 ms.

    Raises:
        TimeoutError: it did not come true in time; names ``what``.
    """
    deadline_s = monotonic_s() + within_s
    while not condition():
        if monotonic_s() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(0.01)


class Rig:
    """Servers and processes of one benchmark.

    ``postgres_options`` are added to Postgres's command line. Commits are told apart by
    ``pg_xact_commit_timestamp``, which `up` has no use for and leaves off.
    ``postgres=False`` starts Redis alone.
    """

    def __init__(self, *, postgres: bool = True, postgres_options: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="timer-bench-"))
        self.folder.chmod(0o711)  # for root: its Postgres runs as nobody
        self._with_postgres = postgres
        self._postgres_options = ["-c", "track_commit_timestamp=on", *postgres_options]
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._specs: dict[str, ChildSpec] = {}
        self._cpu_before: dict[str, float] = {}
        self.database_url = ""
        self.redis_url = ""
        self.env: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._start_servers()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The deployment's settings, for services built in this process."""
        given = {
            name.removeprefix("TIMER_").lower(): value
            for name, value in self.env.items()
            if name.startswith("TIMER_")
        }
        return Settings(**given)  # type: ignore[arg-type]

    @property
    def queue_url(self) -> str:
        """Where RQ lives."""
        return default_queue_url(self.redis_url)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[], bool] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in the deployment's environment and wait until it is ready."""
        return self._run(ChildSpec(name, tuple(argv), env=self.env, ready=ready))

    def start_service(
        self, name: str, *words: str, ready: Callable[[], bool] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one of our own processes, such as ``listen``."""
        return self.start(name, (sys.executable, "-m", "timer_service", *words), ready=ready)

    def start_listener(self, name: str = "listen") -> None:
        """Start the expiry listener as `up` does; ready when it listens."""
        self.start_service(name, "listen", ready=lambda: _listens(self.redis_url))

    def start_web(self) -> int:
        """Start the server that `up` uses; return its port."""
        url = self.env["TIMER_PUBLIC_URL"]
        port = url.rpartition(":")[2]
        self.start_service("web", "web", "--port", port, ready=lambda: _is_ready(url))
        return int(port)

    def spec_of(self, name: str) -> ChildSpec:
        """Return how a process was started."""
        return self._specs[name]

    def process_of(self, name: str) -> subprocess.Popen[bytes]:
        """Return a process as it was started last."""
        return self._children[name]

    def begin(self, spec: ChildSpec) -> subprocess.Popen[bytes]:
        """Start a process, or start one again that has ended, and do not wait for it."""
        with (self.folder / f"{spec.name}.log").open("ab") as log:
            process = start_child(spec, log)
        self._children[spec.name] = process
        self._specs[spec.name] = spec
        return process

    def stop(self, name: str) -> None:
        """End a process as a supervisor would, by force where it does not."""
        process = self._children.pop(name)
        process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
        kill_group(process.pid)
        process.wait()

    def kill(self, name: str) -> None:
        """End a process and all it started as a power cut would."""
        process = self._children.pop(name)
        kill_group(process.pid)
        process.wait()

    def start_again(self, name: str) -> None:
        """Start what was killed or stopped, as it was; wait until it is ready."""
        self._run(self._specs[name])

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Have a process and all it started hang for the block, its connections open."""
        group = self._children[name].pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def pid_of(self, name: str) -> int:
        """Return a process's pid."""
        return self._children[name].pid

    def log_of(self, name: str) -> str:
        """Return the end of what a process said."""
        return last_lines(self.folder / f"{name}.log")

    def analyze(self) -> None:
        """Bring the planner's statistics up to date, as autovacuum does within a minute."""
        with psycopg.connect(self.database_url, autocommit=True) as db:
            db.execute("VACUUM (ANALYZE)")

    def begin_cpu(self) -> None:
        """Count the processes' CPU time from now on."""
        self._cpu_before = self._cpu_s()

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each process, its children's among them, since `begin_cpu`."""
        now = self._cpu_s()
        return {
            name: round(spent - self._cpu_before.get(name, 0), 3) for name, spent in now.items()
        }

    def close(self) -> None:
        """End everything and remove its data."""
        for name in reversed(list(self._children)):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_servers(self) -> None:
        with DataDirectory(self.folder / "data") as data:
            secrets = data.secrets()
            redis = prepare_redis(data)
            if self._with_postgres:
                postgres = prepare_postgres(data, shelter=self.folder / "shelter")
        metrics = self.folder / "metrics"
        metrics.mkdir()
        if self._with_postgres:
            self._run(replace(postgres.spec, argv=(*postgres.spec.argv, *self._postgres_options)))
            self.database_url = postgres.url
        self._run(redis.spec)
        if self._with_postgres:
            migrate(postgres.url)
        self.redis_url = redis.url
        self.env = {
            **os.environ,
            "TIMER_DATABASE_URL": self.database_url,
            "TIMER_REDIS_URL": redis.url,
            "TIMER_ADMIN_KEY": secrets.admin_key,
            "TIMER_ENCRYPTION_KEYS": secrets.encryption_key,
            "TIMER_PUBLIC_URL": f"http://{HOST}:{choose_port(None)}",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONUNBUFFERED": "1",
        }

    def _run(self, spec: ChildSpec) -> subprocess.Popen[bytes]:
        process = self.begin(spec)

        def is_ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{spec.name} ended:\n{self.log_of(spec.name)}")
            return spec.ready is None or spec.ready()

        wait_until(is_ready, f"{spec.name} is ready", START_WITHIN_S)
        return process

    def _cpu_s(self) -> dict[str, float]:
        return {name: _tree_cpu_s(process.pid) for name, process in self._children.items()}


def _tree_cpu_s(pid: int) -> float:
    import psutil  # noqa: PLC0415 - only benchmarks have it; tests use the rig too

    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
    return total
