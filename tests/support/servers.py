"""Real servers for the tests: started on free ports of the loopback address, ended with the run.

Both come from where `timer-service up` takes them. Nothing here touches a server it did not start,
and Linux ends them even where pytest is killed.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from tests.support.waiting import wait_until
from timer_service.child_process import ChildSpec, start_child
from timer_service.embedded import DataDirectory, prepare_postgres
from timer_service.embedded.redis_server import find_redis
from timer_service.embedded.server import HOST, choose_port
from timer_service.migrate import migrate

TEMPLATE = "template_timer"

# how to try another flavour: TEST_REDIS_BINARY=/usr/bin/redis-server ./run test
OTHER_REDIS_BINARY = os.environ.get("TEST_REDIS_BINARY")


class _Server:
    """One server process that a test may kill and start again."""

    def __init__(self, spec: ChildSpec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = start_child(self._spec, log)
        wait_until(self._is_ready, within_s=30, what=f"{self._spec.name} answers")

    def stop(self) -> None:
        """End it as `up` does, everything written."""
        self._end(self._spec.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(9)

    def restart(self) -> None:
        self.kill()
        self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let it be there and say nothing for the block: the kernel goes on taking connections."""
        stopped = [self.pid]
        os.kill(self.pid, signal.SIGSTOP)  # first, so that it makes no more of them
        for pid in children_of(self.pid):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        return self._folder / f"{self._spec.name}.log"

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        assert self._spec.ready is not None
        return self._spec.ready()

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


class RedisServer(_Server):
    """A Redis-compatible server with no password, forgetful unless ``options`` say otherwise."""

    def __init__(self, *options: str) -> None:
        self.port = choose_port(None)
        folder = Path(tempfile.mkdtemp(prefix="timer-redis-"))
        binary = OTHER_REDIS_BINARY or str(find_redis(folder, None).path)
        here = ("--bind", HOST, "--port", str(self.port), "--dir", str(folder), "--save", "")
        told = ("--notify-keyspace-events", "Ex")
        argv = (binary, *here, *told, *options)
        super().__init__(ChildSpec("redis", argv, ready=self._answers), folder)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def make_new(self) -> None:
        """Forget all data and what a test may have configured."""
        with Redis.from_url(self.url) as client:
            client.flushall()
            client.config_set("notify-keyspace-events", "Ex")
            client.config_resetstat()

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except (AuthenticationError, NoPermissionError):
            return True
        except RedisError:
            return False


class PostgresServer(_Server):
    """A Postgres as `up` starts it, but with fsync off: these databases need not last."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="timer-postgres-"))
        folder.chmod(0o711)  # for root: its Postgres runs as nobody
        with DataDirectory(folder / "data") as data:
            server = prepare_postgres(data, shelter=folder / "shelter")
        fast = [part for name in ("fsync", "full_page_writes") for part in ("-c", f"{name}=off")]
        super().__init__(replace(server.spec, argv=(*server.spec.argv, *fast)), folder)
        self._url = server.url
        self._numbers = itertools.count(1)
        self._has_template = False
        self.start()
        self._make_connecting_cheap()

    def make_database(self) -> str:
        """Clone the migrated template; returns the URL of a database of the caller's own."""
        if not self._has_template:
            self._do(f"CREATE DATABASE {TEMPLATE}")
            migrate(self._url_of(TEMPLATE))
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return self._url_of(name)

    def make_empty_database(self) -> str:
        """Make a database without tables, for tests of the migrations; returns its URL."""
        name = f"test_{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name}")
        return self._url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, ending whoever is still connected; one the test broke is left."""
        with suppress(psycopg.OperationalError):
            self._do(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _make_connecting_cheap(self) -> None:
        """Hash the password once instead of 4096 times: every test opens several connections."""
        with psycopg.connect(self._url, autocommit=True) as db:
            if db.info.server_version >= 160_000:
                db.execute("SET scram_iterations = 1")
                password = sql.Literal(db.info.password)
                db.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))

    def _url_of(self, name: str) -> str:
        return f"{self._url.rpartition('/')[0]}/{name}"

    def _do(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as db:
            db.execute(statement.encode())


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = path.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(path.parent.name))
    return found
