"""What each process of a deployment runs, from its settings to its last breath.

`cli` calls these; each returns when the process is told to stop (SIGTERM, SIGINT).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from timer_service import wiring
from timer_service.database import Database
from timer_service.installation import check_shards, make_admin_key, wait_for_schema
from timer_service.job_queue import work
from timer_service.settings import Settings

log = structlog.get_logger(__name__)

WORKER_NICENESS = 10
"""Summaries can wait: where cores are few, closing on time and answering webhooks come first."""

_WEB_SERVER = (
    *("-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws", "--log-level", "warning"),
    # one per core of the smallest machine we mean to run on; a crash leaves one answering
    *("--workers", "2", "--respawn-failed-workers", "--respawn-interval", "0.5"),
    # as many as connections in a worker's pool: none waits for another's connection
    *("--blocking-threads", "16"),
    # seconds; every request ends within one, only live pages last longer
    *("--workers-kill-timeout", "5"),
    # milliseconds; nothing of a slow request's head holds a thread
    *("--http1-header-read-timeout", "10000"),
)
SWITCH_EVERY_S = 0.0005
"""How long one thread of the listener may keep the others waiting: Python's own 5 ms would be the
lateness of what falls due while the sweep reads a page."""


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def run_listener(settings: Settings) -> None:
    """Run the expiry listener, the sweeper, the rebuilder and the eraser."""
    with _database(settings) as database:
        wait_for_schema(database)
        check_shards(database, settings.shards)
    sys.setswitchinterval(SWITCH_EVERY_S)
    services = wiring.build_listener(settings)
    stop = stop_on_signals()
    others = [
        threading.Thread(target=services.sweeper.run, args=(stop,), name="sweeper"),
        threading.Thread(target=services.rebuilder.run, args=(stop,), name="rebuilder"),
        threading.Thread(target=services.eraser.run, args=(stop,), name="eraser"),
    ]
    for thread in others:
        thread.start()
    log.info("listening")
    try:
        services.listener.run(stop)
    finally:
        stop.set()
        services.sweeper.wake()
        services.rebuilder.want()
        for thread in others:
            thread.join()
        log.info("listener_stopped")


def run_worker(settings: Settings, queue: str) -> None:
    """Run one RQ worker on one queue. RQ handles the signals itself."""
    with _database(settings) as database:
        wait_for_schema(database)
    os.nice(WORKER_NICENESS)
    work(wiring.rq_client(settings), queue)


def run_web(*, host: str, port: int) -> None:
    """Become granian, serving the API, the webhooks and the console."""
    command = web_command(host, port)
    os.execv(command[0], command)  # noqa: S606 - one process less


def web_command(host: str, port: int) -> list[str]:
    """Return how the web server is started."""
    where = ("--host", host, "--port", str(port))
    return [sys.executable, *_WEB_SERVER, *where, "timer_http.wsgi:app"]


def prepare_web(settings: Settings) -> str | None:
    """Check the installation; return an admin key to show where one was made just now.

    Raises:
        ConfigurationError: a setting is missing, or not what this installation was made with.
    """
    settings.require_redis_url()
    settings.encryption_key_list()
    with _database(settings) as database:
        wait_for_schema(database)
        check_shards(database, settings.shards)
        return make_admin_key(database) if settings.admin_key is None else None


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.for_workers(settings.require_database_url(), size=1)
    try:
        yield database
    finally:
        database.close()
