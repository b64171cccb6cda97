"""RQ: a job scheduled with `enqueue_at` for each timer; a reset cancels it and schedules another.

One worker with its scheduler. RQ's `SimpleWorker`, because the one that forks for every job does
fewer a second than fall due.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rq import Queue, SimpleWorker
from rq.job import cancel_job

from benchmarks.peers.engine import BATCH, Engine, redis_url
from benchmarks.peers.timers import Stamper
from benchmarks.rig import Rig
from timer_service.clock import epoch_s
from timer_service.redis_clients import queue_client

_QUEUE = "timers"
_stampers: list[Stamper] = []


class RqTimers(Engine):
    """RQ's own scheduler."""

    label = "RQ enqueue_at"
    survives = True
    note = "cancel + enqueue_at; knows whole seconds, looks once a second; SimpleWorker"

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._queue = Queue(_QUEUE, connection=queue_client(rig.redis_url))
        self._ids: dict[int, str] = {}
        rig.start(
            "handler",
            (sys.executable, "-m", __name__),
            ready=lambda: "Listening on" in rig.log_of("handler"),
        )

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Schedule jobs, pipelined."""
        items = list(deadlines.items())
        for start in range(0, len(items), BATCH):
            self._schedule(items[start : start + BATCH])

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Cancel and schedule anew; many at once by scheduling under the same id, pipelined."""
        deadline_s = epoch_s() + in_s
        if len(numbers) > 1:
            self._schedule([(number, deadline_s) for number in numbers])
            return
        number = numbers[0]
        cancel_job(self._ids[number], self._queue.connection)
        job = self._queue.enqueue_at(_at(deadline_s), stamp, number, result_ttl=0)
        self._ids[number] = job.id

    def _schedule(self, items: Sequence[tuple[int, float]]) -> None:
        with self._queue.connection.pipeline(transaction=False) as pipe:
            for number, deadline_s in items:
                job = self._queue.enqueue_at(
                    _at(deadline_s),
                    stamp,
                    number,
                    job_id=self._ids.get(number),
                    result_ttl=0,
                    pipeline=pipe,
                )
                self._ids[number] = job.id
            pipe.execute()


def _at(deadline_s: float) -> datetime:
    return datetime.fromtimestamp(deadline_s, UTC)


def stamp(number: int) -> None:
    """Be the job."""
    if not _stampers:
        _stampers.append(Stamper())
    _stampers[0].stamp([number])


def main() -> None:
    """Work until ended."""
    SimpleWorker([_QUEUE], connection=queue_client(redis_url())).work(
        with_scheduler=True, logging_level="INFO"
    )


if __name__ == "__main__":
    main()
