"""The RQ edge: which jobs there are, how they are put into queues, whether they still wait there.

A job carries ids only and is derivable from the state of a row, so a lost queue loses nothing: the
sweep makes the jobs again. Each queue has workers of its own, because an RQ worker that listens to
several queues can lose a job.
"""

from __future__ import annotations

import faulthandler
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, get_args
from uuid import UUID

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.utils import as_text, utcformat, utcparse

from timer_service.clock import utc_now
from timer_service.errors import RedisUnavailable
from timer_service.ids import SessionId
from timer_service.lease import give_back_leases
from timer_service.lua_scripts import ENQUEUE, Call, run_calls

log = structlog.get_logger(__name__)

SUMMARIES_QUEUE = "summaries"
CALLBACKS_QUEUE = "callbacks"
SENDS_QUEUE = "sends"
QUEUES = (SUMMARIES_QUEUE, CALLBACKS_QUEUE, SENDS_QUEUE)

SUMMARY_TIMEOUT_S = 90
CALLBACK_TIMEOUT_S = 30
SEND_TIMEOUT_S = 30
PULL_TIMEOUT_S = 45
ASK_TIMEOUT_S = 30
HANG_GRACE_S = 10
"""How long a job may go on after its time-out, as only code outside of Python can."""
MOST_RUN_S = SUMMARY_TIMEOUT_S + HANG_GRACE_S
"""What no job of ours outlives."""
FAILURE_KEPT_S = 7 * 24 * 3600
MAINTENANCE_INTERVAL_S = 60
WORKER_TTL_S = MAINTENANCE_INTERVAL_S + 15
"""RQ waits for a job 15 s less than this, and looks after its scheduler, which every outage ends,
only between two waits: with RQ's own 420 s a retry could lie unnoticed for seven minutes."""
LOOK_FOR_REDIS_EVERY_S = 1.0

_STDERR = 2
"""The descriptor itself: what Python calls stderr may be somebody's own object."""
_CALL_MAX = 100
"""Jobs in one call of the script: about a millisecond of Redis's time."""
_NO_REDIS = Redis()  # RQ wants one to make a job, which asks it nothing
_WAITING = {
    JobStatus.QUEUED,
    JobStatus.SCHEDULED,
    JobStatus.DEFERRED,
    JobStatus.READY_TO_ENQUEUE,
    JobStatus.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class SummaryJob:
    """Summarise a closed session, as one numbered attempt."""

    session_id: SessionId
    attempt: int

    queue = SUMMARIES_QUEUE
    function = "timer_service.summarize_job.summarize_session"
    timeout_s = SUMMARY_TIMEOUT_S

    @property
    def subject(self) -> str:
        """What the job is about, whatever the attempt."""
        return f"summarize_{self.session_id}"

    @property
    def job_id(self) -> str:
        """``summarize_<session>_<attempt>``: an id stays taken for as long as RQ keeps its job."""
        return f"{self.subject}_{self.attempt}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the entry point is called with."""
        return (str(self.session_id), self.attempt)


@dataclass(frozen=True, slots=True)
class CallbackJob:
    """Tell one registered callback that a session closed."""

    session_id: SessionId
    callback_id: UUID
    attempt: int

    queue = CALLBACKS_QUEUE
    function = "timer_service.callback_job.call_back"
    timeout_s = CALLBACK_TIMEOUT_S

    @property
    def subject(self) -> str:
        """What the job is about, whatever the attempt."""
        return f"callback_{self.session_id}_{self.callback_id}"

    @property
    def job_id(self) -> str:
        """``callback_<session>_<callback>_<attempt>``."""
        return f"{self.subject}_{self.attempt}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the entry point is called with."""
        return (str(self.session_id), str(self.callback_id), self.attempt)


@dataclass(frozen=True, slots=True)
class SendJob:
    """Send one message, as one numbered attempt."""

    message_id: UUID
    attempt: int

    queue = SENDS_QUEUE
    function = "timer_service.send_job.send_message"
    timeout_s = SEND_TIMEOUT_S

    @property
    def subject(self) -> str:
        """What the job is about, whatever the attempt."""
        return f"send_{self.message_id}"

    @property
    def job_id(self) -> str:
        """``send_<message>_<attempt>``."""
        return f"{self.subject}_{self.attempt}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the entry point is called with."""
        return (str(self.message_id), self.attempt)


@dataclass(frozen=True, slots=True)
class PullJob:
    """Bring in one page of a gateway's contacts, as one numbered attempt.

    It shares the queue of those who talk to gateways: their worker alone opens secrets.
    """

    connection_id: UUID
    attempt: int

    queue = SENDS_QUEUE
    function = "timer_service.connection_jobs.pull_contacts"
    timeout_s = PULL_TIMEOUT_S

    @property
    def subject(self) -> str:
        """What the job is about, whatever the attempt."""
        return f"pull_{self.connection_id}"

    @property
    def job_id(self) -> str:
        """``pull_<connection>_<attempt>``."""
        return f"{self.subject}_{self.attempt}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the entry point is called with."""
        return (str(self.connection_id), self.attempt)


@dataclass(frozen=True, slots=True)
class AskJob:
    """Ask a gateway how a connection is; ``number`` tells one asking from the next."""

    connection_id: UUID
    number: int

    queue = SENDS_QUEUE
    function = "timer_service.connection_jobs.ask_gateway"
    timeout_s = ASK_TIMEOUT_S

    @property
    def subject(self) -> str:
        """What the job is about, whichever asking it is."""
        return f"ask_{self.connection_id}"

    @property
    def job_id(self) -> str:
        """``ask_<connection>_<number>``."""
        return f"{self.subject}_{self.number}"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the entry point is called with."""
        return (str(self.connection_id),)


Job = SummaryJob | CallbackJob | SendJob | PullJob | AskJob
_HOOKS = tuple(
    form
    for name in (
        "success_callback_name",
        "failure_callback_name",
        "stopped_callback_name",
        "webhooks",
    )
    for form in (name, name.encode())
)
_ENTRY_POINTS = {kind.function for kind in get_args(Job)}


class JobQueue:
    """Puts jobs into RQ's queues and looks after them."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Put jobs into their queues, in one round trip.

        What is written is what RQ 3 writes, at a tenth of the cost of its ``enqueue_many``, which
        makes an object and three commands of each job.

        Raises:
            RedisUnavailable: some or none are queued; the sweep will see which.
        """
        by_kind: dict[tuple[str, str, int], list[Job]] = defaultdict(list)
        for job in jobs:
            by_kind[job.queue, job.function, job.timeout_s].append(job)
        now = utcformat(utc_now())
        calls = []
        for (name, function, timeout_s), theirs in by_kind.items():
            queue = self._queue(name)
            shared = {
                **_shared_fields(name, function, timeout_s),
                "created_at": now,
                "enqueued_at": now,
            }
            fields = json.dumps([text for pair in shared.items() for text in pair])
            for first in range(0, len(theirs), _CALL_MAX):
                args: list[str | int | bytes] = [RQJob.redis_job_namespace_prefix, fields]
                for job in theirs[first : first + _CALL_MAX]:
                    args += (job.job_id, _pack([function, None, job.arguments, {}]))
                calls.append(Call(ENQUEUE, (Queue.redis_queues_keys, queue.key), args))
        run_calls(self._client, calls)

    def still_waiting(self, jobs: Iterable[Job]) -> set[str]:
        """Return the ids of those jobs that wait for a worker or for their next try.

        A job on its way to a worker is not waiting: when the worker died at that very moment, it
        is lost there, and RQ calls it queued for minutes.

        Raises:
            RedisUnavailable: the queue's Redis did not answer.
        """
        wanted = list(jobs)
        ids = [job.job_id for job in wanted]
        try:
            found = RQJob.fetch_many(ids, connection=self._client, serializer=JSONSerializer)
            on_their_way = {
                job_id
                for name in {job.queue for job in wanted}
                for job_id in self._queue(name).intermediate_queue.get_job_ids()
            }
            return {
                job.id
                for job in found
                if job is not None
                and job.get_status(refresh=False) in _WAITING
                and job.id not in on_their_way
            }
        except (RedisError, OSError) as error:
            raise RedisUnavailable("the queue's Redis did not answer") from error

    def came_to_an_end(self, jobs: Iterable[Job]) -> set[str]:
        """Return the ids of those jobs whose function returned: no worker died of them.

        Raises:
            RedisUnavailable: the queue's Redis did not answer.
        """
        ids = [job.job_id for job in jobs]
        try:
            found = RQJob.fetch_many(ids, connection=self._client, serializer=JSONSerializer)
        except (RedisError, OSError) as error:
            raise RedisUnavailable("the queue's Redis did not answer") from error
        return {
            job.id
            for job in found
            if job is not None and job.get_status(refresh=False) is JobStatus.FINISHED
        }

    def depths(self) -> dict[str, int]:
        """Return how many jobs wait in each queue.

        Raises:
            RedisUnavailable: the queue's Redis did not answer.
        """
        try:
            return {name: self._queue(name).count for name in QUEUES}
        except (RedisError, OSError) as error:
            raise RedisUnavailable("the queue's Redis did not answer") from error

    def oldest_ages_s(self) -> dict[str, float]:
        """Return for how long the job that is next has waited; a queue that cannot say is absent.

        Where none waits that is 0.

        Raises:
            RedisUnavailable: the queue's Redis did not answer.
        """
        try:
            ages_s = {name: self._oldest_age_s(name) for name in QUEUES}
        except (RedisError, OSError) as error:
            raise RedisUnavailable("the queue's Redis did not answer") from error
        return {name: age_s for name, age_s in ages_s.items() if age_s is not None}

    def _oldest_age_s(self, name: str) -> float | None:
        # RQ's own reading of a job takes it out of its queue where it cannot be read.
        job_id = self._client.lindex(self._queue(name).key, 0)
        if job_id is None:
            return 0.0
        try:
            enqueued_at = self._client.hget(RQJob.key_for(as_text(job_id)), "enqueued_at")
            return (utc_now() - utcparse(as_text(enqueued_at or b""))).total_seconds()
        except ValueError:
            return None  # gone, or not of our making

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._client, serializer=JSONSerializer)


@lru_cache(maxsize=10)
def _shared_fields(queue: str, function: str, timeout_s: int) -> dict[str, str]:
    """Let RQ say what it stores of a job: all that jobs of one kind have in common."""
    job = RQJob.create(
        function,
        timeout=timeout_s,
        failure_ttl=FAILURE_KEPT_S,
        origin=queue,
        status=JobStatus.QUEUED,
        serializer=JSONSerializer,
        connection=_NO_REDIS,
    )
    own = {"data", "description", "created_at", "enqueued_at"}
    stored = {name: value for name, value in job.to_dict().items() if name not in own}
    return {
        name: str(value.value if isinstance(value, Enum) else value)
        for name, value in stored.items()
    }


def _pack(call: Sequence[object]) -> bytes:
    """Pack what to call as RQ reads it: JSON in a zlib stream, but stored in it as it is.

    Compressing some hundred bytes takes longer than all the rest of a job, nearly all of it to set
    the compressor up.
    """
    data = json.dumps(call).encode()
    size = len(data)
    return b"".join(
        (
            b"\x78\x01\x01",  # zlib's head; one block, the last, stored
            size.to_bytes(2, "little"),
            (size ^ 0xFFFF).to_bytes(2, "little"),
            data,
            zlib.adler32(data).to_bytes(4, "big"),
        )
    )


class _OwnJob(RQJob):
    """A job whose function is one of ours: RQ would call any function it finds named in Redis.

    So it would what is named there to be called, or posted to, when the job is over; ours never
    name any.
    """

    has_hooks = False

    def restore(self, raw_data: Mapping[bytes | str, Any]) -> None:
        """Read what Redis holds, but for what is to be called when the job is over."""
        fields = dict(raw_data)
        hooks = [fields.pop(name, None) for name in _HOOKS]
        self.has_hooks = any(hooks)
        super().restore(fields)

    def perform(self) -> object:
        """Call the function.

        Raises:
            ValueError: it is none of ours, or names what ours never do; RQ keeps the job as failed.
        """
        if self.func_name not in _ENTRY_POINTS or self.has_hooks:
            raise ValueError("a job of no kind we know")
        return super().perform()


class _WatchedWorker(SimpleWorker):
    """Ends its process where a job does not let itself be interrupted; gives leases back in time.

    RQ's time-out is a signal that Python sees between two of its own instructions; a job that hangs
    within one would hold its worker for ever. faulthandler's watch needs no Python to bite.
    """

    def handle_warm_shutdown_request(self) -> None:
        """Finish the job in hand if there is time for it; whoever stops us may not give it."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        give_back_leases()

    def execute_job(self, job: RQJob, queue: Queue) -> None:
        """Execute a job under the watch."""
        ends_within_s = (job.timeout or SUMMARY_TIMEOUT_S) + HANG_GRACE_S
        faulthandler.dump_traceback_later(ends_within_s, exit=True, file=_STDERR)
        try:
            super().execute_job(job, queue)
        finally:
            faulthandler.cancel_dump_traceback_later()


def work(client: Redis, queue: str, *, burst: bool = False) -> None:
    """Run one worker on one queue until it is told to stop (or, in a burst, until it is empty)."""
    _wait_for_redis(client)
    worker = _WatchedWorker(
        [Queue(queue, connection=client, serializer=JSONSerializer, job_class=_OwnJob)],
        connection=client,
        serializer=JSONSerializer,
        job_class=_OwnJob,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
        log_job_description=False,
    )
    worker.work(burst=burst, logging_level="WARNING", with_scheduler=not burst)


def _wait_for_redis(client: Redis) -> None:
    """Wait until the queue's Redis answers: a worker that starts without it dies at once.

    Dying again and again would in the end take down whoever supervises it.
    """
    while True:
        try:
            client.ping()
        except (RedisError, OSError) as error:
            log.warning("worker_without_redis", cause=type(error).__name__)
            time.sleep(LOOK_FOR_REDIS_EVERY_S)
        else:
            return
