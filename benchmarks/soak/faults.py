"""Strikes the deployment, and puts right what it broke. One function for each kind of fault.

Each is a generator: up to its ``yield`` it breaks, after it it mends. They run in threads of their
own, since breaking something can take a while; starting processes again is the deployment's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import psycopg
from redis import RedisError

from benchmarks.soak.deployment import Deployment
from benchmarks.soak.history import History, Struck, now_us
from benchmarks.soak.schedule import POSTGRES, REDIS, Fault, Schedule
from tests.support.tcp_proxy import TcpProxy, Way
from timer_service.child_process import kill_group
from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError

_APPLICATION = "timer-service"
_EVERY_NTH_KEY = 5
ANSWERS_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05


class Faults:
    """Carries out a schedule's faults."""

    def __init__(self, schedule: Schedule, deployment: Deployment, history: History) -> None:
        self._waiting = list(schedule.faults)
        self._deployment = deployment
        self._history = history
        self._over = Event()
        self._threads: list[Thread] = []

    def tend(self, at_s: float) -> None:
        """Strike what is due ``at_s`` seconds after the start."""
        while self._waiting and self._waiting[0].at_s <= at_s:
            fault = self._waiting.pop(0)
            thread = Thread(target=self._strike, args=(fault,), name=str(fault))
            thread.start()
            self._threads.append(thread)

    @property
    def are_over(self) -> bool:
        """Whether every fault is done and put right."""
        return not self._waiting and not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Put right whatever is still broken, now."""
        self._waiting.clear()
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _strike(self, fault: Fault) -> None:
        struck = Struck(fault.kind, fault.target, now_us())
        self._history.struck.append(struck)
        self._history.note("fault", kind=fault.kind, target=fault.target, length_s=fault.length_s)
        try:
            with contextmanager(DONE_BY[fault.kind])(self._deployment, fault.target):
                self._over.wait(fault.length_s)
        except (OSError, RedisError, psycopg.Error, TimerServiceError) as error:
            struck.failure = f"{type(error).__name__}: {error}"
        if fault.target in {POSTGRES, REDIS}:
            # It may recover for seconds; what the service owes, it owes from there on.
            gives_up_s = monotonic_s() + ANSWERS_WITHIN_S
            while not self._deployment.answers(fault.target) and monotonic_s() < gives_up_s:
                self._over.wait(_LOOK_EVERY_S)
        struck.ended_us = now_us()
        self._history.note("healed", kind=fault.kind, target=fault.target, failure=struck.failure)


def kill(deployment: Deployment, target: str) -> Iterator[None]:
    """Kill a process and its children at one instant."""
    deployment.blame(target)
    kill_group(deployment.pid_of(target))
    yield


def stop(deployment: Deployment, target: str) -> Iterator[None]:
    """Tell a process to stop, as a supervisor does."""
    deployment.blame(target)
    with suppress(ProcessLookupError):
        os.kill(deployment.pid_of(target), signal.SIGTERM)
    yield


def kill_leader(deployment: Deployment, target: str) -> Iterator[None]:
    """Kill a process but not its children."""
    deployment.blame(target)
    with suppress(ProcessLookupError):
        os.kill(deployment.pid_of(target), signal.SIGKILL)
    yield


def kill_child(deployment: Deployment, target: str) -> Iterator[None]:
    """Kill one of a process's children: a web worker, or a backend of Postgres."""
    if target == POSTGRES:
        # Postgres takes this for a crash: it ends every backend and recovers.
        with deployment.postgres() as db:
            row = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s LIMIT 1",
                (_APPLICATION,),
            ).fetchone()
        children = [int(row[0])] if row else []
    else:
        children = deployment.tree_of(target)[1:]
    for pid in children[:1]:
        os.kill(pid, signal.SIGKILL)
    yield


def hang(deployment: Deployment, target: str) -> Iterator[None]:
    """Freeze a process with all its children, connections open."""
    pids = deployment.tree_of(target)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def down(deployment: Deployment, target: str) -> Iterator[None]:
    """Stop a server as a power cut would, and start it again later on the same data."""
    deployment.hold(target)
    try:
        # Postgres's "immediate": every backend drops what it does, and the next start recovers.
        number = signal.SIGQUIT if target == POSTGRES else signal.SIGKILL
        os.kill(deployment.pid_of(target), number)
        yield
    finally:
        deployment.release(target)


def wipe(deployment: Deployment, target: str) -> Iterator[None]:
    """Kill Redis and remove its files; it comes back empty."""
    deployment.hold(target)
    try:
        os.kill(deployment.pid_of(target), signal.SIGKILL)
        yield
    finally:
        deployment.forget_redis_data()
        deployment.release(target)


def flush(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Empty Redis, the queues among it."""
    with deployment.redis() as client:
        client.flushall()
    yield


def pause(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Let Redis take what writes, and do none of it until it goes on."""
    with deployment.redis() as client:
        client.client_pause(60_000, all=False)  # or nobody could tell it to go on
        try:
            yield
        finally:
            client.client_unpause()


def cut(deployment: Deployment, target: str) -> Iterator[None]:
    """Close every connection to a server."""
    if target == REDIS:
        with deployment.redis() as client:
            for kind in ("pubsub", "normal"):
                client.client_kill_filter(_type=kind, skipme=True)
    else:
        with deployment.postgres() as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = %s",
                (_APPLICATION,),
            )
    yield


def deafen(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Turn off Redis's notifications; ours turns them on again by itself."""
    with deployment.redis() as client:
        client.config_set("notify-keyspace-events", "")
        yield
        if not deployment.flavour.heals_notifications:
            client.config_set("notify-keyspace-events", "Ex")


def meddle(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Delete, overwrite and persist live keys by hand."""
    with deployment.redis() as client:
        live = [str(key) for key in client.scan_iter(deployment.flavour.live_keys, count=1_000)]
        for nth, key in enumerate(live[::_EVERY_NTH_KEY]):
            if nth % 3 == 0:
                client.delete(key)
            elif nth % 3 == 1:
                client.persist(key)
            else:
                client.set(key, "0")
    yield


def lock(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Lock a table as a careless migration does."""
    with deployment.postgres() as db, db.transaction():
        db.execute("SET LOCAL lock_timeout = '3s'")
        db.execute(f"LOCK TABLE {deployment.flavour.table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def read_only(deployment: Deployment, target: str) -> Iterator[None]:  # noqa: ARG001
    """Let Postgres refuse to write, as a standby does that was taken for the primary."""
    _configure(deployment, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        _configure(deployment, "ALTER SYSTEM RESET default_transaction_read_only")


def partition(deployment: Deployment, target: str) -> Iterator[None]:
    """Let nothing through between half of the deployment and a server, connections open."""
    return _switched(deployment, target, TcpProxy.blackhole)


def lose_answers(deployment: Deployment, target: str) -> Iterator[None]:
    """Let requests through and no answers: everything is done and nobody is told."""
    return _switched(deployment, target, lambda proxy: proxy.blackhole(Way.TO_CLIENT))


def reset(deployment: Deployment, target: str) -> Iterator[None]:
    """Reset every connection, old and new."""
    return _switched(deployment, target, TcpProxy.reset)


def slow(deployment: Deployment, target: str) -> Iterator[None]:
    """Delay everything, now more, now less."""
    return _switched(deployment, target, lambda proxy: proxy.delay(0.02, 0.1))


def lose_commit(deployment: Deployment, target: str) -> Iterator[None]:
    """Lose the answer to one COMMIT, and the connection with it."""
    return _switched(deployment, target, lambda proxy: proxy.lose_answer(b"COMMIT"))


def lose_record(deployment: Deployment, target: str) -> Iterator[None]:
    """Lose the answer to one statement that stores messages."""
    return _switched(deployment, target, lambda proxy: proxy.lose_answer(b"provider_message_id"))


def lose_script(deployment: Deployment, target: str) -> Iterator[None]:
    """Lose the answer to one script."""
    return _switched(deployment, target, lambda proxy: proxy.lose_answer(b"EVALSHA"))


def _switched(
    deployment: Deployment, target: str, switch: Callable[[TcpProxy], None]
) -> Iterator[None]:
    proxy = deployment.ways[target]
    switch(proxy)
    try:
        yield
    finally:
        proxy.pass_all()


def _configure(deployment: Deployment, statement: str) -> None:
    with deployment.postgres() as db:
        db.execute(statement.encode())
        db.execute("SELECT pg_reload_conf()")


DONE_BY: dict[str, Callable[[Deployment, str], Iterator[None]]] = {
    one.__name__: one
    for one in (
        kill, stop, kill_leader, kill_child, hang, down, wipe, flush, pause, cut, deafen, meddle,
        lock, read_only, partition, lose_answers, reset, slow, lose_commit, lose_record,
        lose_script,
    )
}  # fmt: skip
