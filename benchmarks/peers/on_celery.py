"""Celery: a task with a countdown for each timer; a reset revokes it and sends another.

The worker takes every such task into its memory at once and keeps the time there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from benchmarks.peers.engine import Engine, redis_url
from benchmarks.peers.timers import Stamper
from benchmarks.rig import Rig, wait_until
from timer_service.clock import epoch_s
from timer_service.redis_clients import worker_client

_TASK = "stamp"
_QUEUE = "celery"
_stampers: list[Stamper] = []


class CeleryTimers(Engine):
    """One worker with two processes, the Redis broker."""

    label = "Celery countdown"
    survives = False
    note = "revoke + apply_async; after a kill up to 1 h late (its visibility time-out)"
    most_live = 10_000
    batches = False

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._client = worker_client(rig.redis_url)
        self._task = _make_task(_make_app(rig.redis_url))
        self._ids: dict[int, str] = {}
        rig.start(
            "handler",
            (sys.executable, "-m", __name__),
            ready=lambda: " ready." in rig.log_of("handler"),
        )

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Send tasks, one by one."""
        for number, deadline_s in deadlines.items():
            self._send(number, deadline_s - epoch_s())

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Revoke and send again."""
        for number in numbers:
            self._task.app.control.revoke(self._ids[number])
            self._send(number, in_s)

    def settle(self) -> None:
        """Wait until the worker holds everything."""
        wait_until(lambda: self._client.llen(_QUEUE) == 0, "Celery holds the tasks")

    def close(self) -> None:
        """Give the connections back."""
        self._task.app.close()

    def _send(self, number: int, in_s: float) -> None:
        self._ids[number] = self._task.apply_async((number,), countdown=in_s).id


def stamp(number: int) -> None:
    """Be the task."""
    if not _stampers:
        _stampers.append(Stamper())
    _stampers[0].stamp([number])


def _make_app(url: str) -> Any:
    return Celery(
        "timers", broker=url, set_as_current=False, task_ignore_result=True, enable_utc=True
    )


def _make_task(app: Any) -> Any:
    return app.task(name=_TASK, ignore_result=True)(stamp)


def main() -> None:
    """Work until ended."""
    app = _make_app(redis_url())
    _make_task(app)
    app.worker_main(["worker", "--concurrency", "2", "--loglevel", "INFO"])


if __name__ == "__main__":
    main()
