"""What each process of a deployment runs, from its settings to its last breath.

`cli` calls these; each returns when the process is told to stop (SIGTERM, SIGINT).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from timer_service import wiring
from timer_service.database import Database
from timer_service.expiry_listener import ListenerBroken
from timer_service.installation import Installation, check_shards, wait_for_schema
from timer_service.job_queue import work
from timer_service.listening_socket import descriptor_of_systemd, open_listening_socket
from timer_service.settings import Settings

log = structlog.get_logger(__name__)

WORKER_NICENESS = 10
"""Summaries can wait: where cores are few, closing on time and answering webhooks come first."""

LOOK_WITHIN_S = 2.0
"""How long a starting web process looks for Postgres before it starts without it."""

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
    """Run the expiry listener, the sweeper, the rebuilder, the eraser and the indexer."""
    with _database(settings) as database:
        was_away = wait_for_schema(database)
        check_shards(database, settings.shards)
    sys.setswitchinterval(SWITCH_EVERY_S)
    services = wiring.build_listener(settings)
    if was_away:
        services.announcements.postgres_was_away()
        services.sweeper.postgres_was_away()
    stop = stop_on_signals()
    others = [
        _VitalThread("sweeper", services.sweeper.run, stop),
        _VitalThread("rebuilder", services.rebuilder.run, stop),
        _VitalThread("eraser", services.eraser.run, stop),
        _VitalThread("indexer", services.indexer.run, stop),
        _VitalThread("spool-announcements", services.announcements.keep_fresh, stop),
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
    broken = [thread.name for thread in others if thread.ended_by_itself]
    if broken:
        raise ListenerBroken(f"{', '.join(broken)} ended: to be started anew")


class _VitalThread(threading.Thread):
    """A thread without which its process is no good: when it ends by itself, everything stops."""

    def __init__(
        self, name: str, run: Callable[[threading.Event], None], stop: threading.Event
    ) -> None:
        super().__init__(name=name)
        self._work = run
        self._stop_all = stop
        self.ended_by_itself = False

    def run(self) -> None:
        try:
            self._work(self._stop_all)
        finally:
            self.ended_by_itself = not self._stop_all.is_set()
            self._stop_all.set()


def run_worker(settings: Settings, queue: str) -> None:
    """Run one RQ worker on one queue. RQ handles the signals itself."""
    with _database(settings) as database:
        wait_for_schema(database)
    os.nice(WORKER_NICENESS)
    work(wiring.rq_client(settings), queue)


def run_web(*, host: str, port: int, descriptor: int | None = None) -> None:
    """Become the web server: the API, the webhooks and the console.

    It serves on the socket of that ``descriptor``, on the one systemd handed over, or on a new one.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    if descriptor is None:
        descriptor = descriptor_of_systemd(os.environ)
    if descriptor is None:
        descriptor = open_listening_socket(host, port).detach()
    os.set_inheritable(descriptor, True)
    command = web_command(descriptor)
    os.execv(command[0], command)  # noqa: S606 - one process less


def web_command(descriptor: int) -> list[str]:
    """Return how the web server is started on an inherited socket."""
    return [sys.executable, "-m", "timer_service.web_server", str(descriptor)]


def prepare_web(settings: Settings) -> str | None:
    """Check the installation; return an admin key to show where one was made just now.

    It waits for nothing: where Postgres or its schema is not there yet, the workers look for it
    and refuse what needs it until it comes.

    Raises:
        ConfigurationError: a setting is missing, or not what this installation was made with.
    """
    settings.require_redis_url()
    settings.encryption_key_list()
    with _database(settings, within_s=LOOK_WITHIN_S) as database:
        return Installation(database, settings).check_once()


@contextmanager
def _database(settings: Settings, *, within_s: float | None = None) -> Iterator[Database]:
    url = settings.require_database_url()
    database = Database.for_workers(url, size=1, within_s=within_s)
    try:
        yield database
    finally:
        database.close()
