"""Everything on one machine: the plan of servers, steps and processes that `up` and `demo` run.

Embedded servers are part of it only where the settings name none.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timer_service.child_process import ChildSpec
from timer_service.database import Database
from timer_service.embedded import DataDirectory, prepare_postgres, prepare_redis
from timer_service.errors import RedisUnavailable
from timer_service.expiry_listener import PROCESS as LISTENER
from timer_service.listening_socket import open_listening_socket
from timer_service.live_chats import LiveChats
from timer_service.migrate import migrate
from timer_service.redis_clients import live_worker_client
from timer_service.spool import Spool
from timer_service.spool_announcements import SpoolAnnouncements
from timer_service.supervisor import Step

SUMMARY_WORKERS = 2
READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is to run, and where people find it."""

    plan: list[ChildSpec | Step]
    base_url: str
    admin_key: str
    env: Mapping[str, str]


def plan_deployment(
    data: DataDirectory,
    environ: Mapping[str, str],
    *,
    host: str,
    port: int,
    idle_gap_s: int | None = None,
) -> Deployment:
    """Plan all processes of one machine.

    Raises:
        ConfigurationError: the data folder or the address cannot be used.
        EmbeddedServerError: a server is needed and none can be had here.
    """
    listening = open_listening_socket(host, port)
    secrets = data.secrets()
    servers = []
    env = dict(environ)
    if not env.get("TIMER_DATABASE_URL"):
        postgres = prepare_postgres(data)
        servers.append(postgres)
        env["TIMER_DATABASE_URL"] = postgres.url
    if not env.get("TIMER_REDIS_URL"):
        redis = prepare_redis(data)
        servers.append(redis)
        env["TIMER_REDIS_URL"] = redis.url
    base_url = f"http://{_reachable(host)}:{port}"
    env.setdefault("TIMER_PUBLIC_URL", base_url)
    env.setdefault("TIMER_ADMIN_KEY", secrets.admin_key)
    env.setdefault("TIMER_ENCRYPTION_KEYS", secrets.encryption_key)
    if idle_gap_s is not None:
        env["TIMER_IDLE_GAP_S"] = str(idle_gap_s)
    env["PROMETHEUS_MULTIPROC_DIR"] = str(_fresh_folder(data.path / "metrics"))
    env.setdefault("TIMER_SPOOL_DIR", str(data.path / "spool"))
    env.setdefault("TIMER_MEDIA_DIR", str(data.path / "media"))
    env["PYTHONUNBUFFERED"] = "1"

    def child(name: str, *words: str, **treatment: Any) -> ChildSpec:
        argv = (sys.executable, "-m", "timer_service", *words)
        return ChildSpec(
            name=name, argv=argv, env=env, ready_timeout_s=READY_TIMEOUT_S, **treatment
        )

    plan: list[ChildSpec | Step] = [server.spec for server in servers]
    plan += [
        Step("migrate", lambda: migrate(env["TIMER_DATABASE_URL"])),
        # Before the listener closes what messages that wait on the disk continue.
        Step("announce spool", lambda: announce_spool(env)),
        child("listen", "listen", ready=lambda: _listens(env["TIMER_REDIS_URL"])),
        child(
            "work",
            *("work", "--workers", str(SUMMARY_WORKERS)),
            stops_beside=True,
            stop_timeout_s=7.0,  # it has workers of its own to stop
        ),
        child(
            "web",
            *("web", "--fd", str(listening.fileno())),
            ready=lambda: _is_ready(base_url),
            sockets=(listening,),
            stop_timeout_s=7.0,  # it asks callers to leave, then gives requests their time
        ),
    ]
    return Deployment(plan, base_url, env["TIMER_ADMIN_KEY"], env)


def announce_spool(env: Mapping[str, str]) -> None:
    """Announce what waits in this machine's spool from before, until web does."""
    spool = Spool(Path(env["TIMER_SPOOL_DIR"]))
    database = Database.for_workers(env["TIMER_DATABASE_URL"], size=1)
    client = live_worker_client(env["TIMER_REDIS_URL"])
    try:
        oldest_at = spool.oldest_at
        if oldest_at is not None:
            SpoolAnnouncements(database, client).announce(spool.id, oldest_at)
    finally:
        client.close()
        database.close()
        spool.close()


def with_demo(deployment: Deployment, idle_gap_s: int) -> Deployment:
    """Add conversations that go on and on."""
    words = ("demo-traffic", "--url", deployment.base_url, "--idle-gap", f"{idle_gap_s}s")
    argv = (sys.executable, "-m", "timer_service", *words)
    return replace(
        deployment, plan=[*deployment.plan, ChildSpec(name="demo", argv=argv, env=deployment.env)]
    )


def plan_workers(queues: Mapping[str, int], environ: Mapping[str, str]) -> list[ChildSpec | Step]:
    """Plan the workers of `work`: each queue has its own, as RQ is safe only that way."""
    plan: list[ChildSpec | Step] = []
    for queue, count in queues.items():
        for number in range(1, count + 1):
            argv = (sys.executable, "-m", "timer_service", "work", "--queue", queue)
            plan.append(
                ChildSpec(
                    name=f"{queue}-{number}",
                    argv=argv,
                    env=environ,
                    stops_beside=bool(plan),
                    expendable=True,  # the job that killed it is parked in the end
                )
            )
    return plan


def _reachable(host: str) -> str:
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _fresh_folder(path: Path) -> Path:
    """Empty the folder the processes' metrics meet in: they count from their own start."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def _is_ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=2) as answer:  # noqa: S310 - ours
            return bool(json.load(answer)["status"] == "ready")
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return False


def _listens(redis_url: str) -> bool:
    client = live_worker_client(redis_url)
    try:
        return LiveChats(client, shards=1).is_shown_alive(LISTENER)
    except RedisUnavailable:
        return False
    finally:
        client.close()
