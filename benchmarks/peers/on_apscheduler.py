"""APScheduler: a job with a date for each timer, in this process; a reset is `reschedule_job`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from benchmarks.peers.engine import Engine
from benchmarks.peers.timers import STAMPS_FILE, Stamper
from benchmarks.rig import Rig
from timer_service.clock import epoch_s


class ApschedulerTimers(Engine):
    """A background scheduler with its jobs in memory."""

    label = "APScheduler"
    survives = False
    note = "reschedule_job, in the memory of one process, no server"
    batches = False

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._stamper = Stamper(rig.env[STAMPS_FILE])
        # without a limit: jobs more than 1 s late would be dropped
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None}
        )
        self._scheduler.start()

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Add jobs while the scheduler pauses, so that it does not look at each."""
        self._scheduler.pause()
        for number, deadline_s in deadlines.items():
            self._scheduler.add_job(
                self._stamper.stamp, _at(deadline_s), args=([number],), id=str(number)
            )
        self._scheduler.resume()

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Move jobs to another date."""
        for number in numbers:
            self._scheduler.reschedule_job(str(number), trigger=_at(epoch_s() + in_s))

    def close(self) -> None:
        """End its threads."""
        self._scheduler.shutdown()


def _at(deadline_s: float) -> DateTrigger:
    return DateTrigger(datetime.fromtimestamp(deadline_s, UTC))
