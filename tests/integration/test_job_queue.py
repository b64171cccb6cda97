"""What the queue's script writes is what RQ itself writes, and RQ can work with it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from timer_service import job_queue
from timer_service.ids import SessionId, new_id
from timer_service.job_queue import (
    FAILURE_KEPT_S,
    QUEUES,
    SUMMARIES_QUEUE,
    CallbackJob,
    Job,
    JobQueue,
    SummaryJob,
    work,
)
from timer_service.redis_clients import queue_client


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with queue_client(redis_url) as client:
        yield client


def make_jobs() -> list[Job]:
    session_id = SessionId(new_id())
    return [SummaryJob(session_id, 3), CallbackJob(session_id, uuid4(), 1)]


def enqueue_by_rq(client: Redis, job: Job) -> None:
    data = Queue.prepare_data(
        job.function,
        args=job.arguments,
        timeout=job.timeout_s,
        job_id=job.job_id,
        failure_ttl=FAILURE_KEPT_S,
        description=job.job_id,
    )
    Queue(job.queue, connection=client, serializer=JSONSerializer).enqueue_many([data])


def everything(client: Redis) -> dict[bytes, object]:
    """Return all that is stored, with what differs from call to call made the same."""
    found: dict[bytes, object] = {}
    for key in client.scan_iter():
        assert client.ttl(key) == -1
        if client.type(key) == b"hash":
            fields = client.hgetall(key)
            fields[b"data"] = zlib.decompress(fields[b"data"])
            for instant in (b"created_at", b"enqueued_at"):
                assert len(fields[instant]) == len("2026-11-21T17:17:23.494582Z")
                fields[instant] = b""
            found[key] = fields
        else:
            found[key] = client.sort(key, alpha=True)
    return found


def test_it_stores_what_rq_stores(client: Redis) -> None:
    jobs = make_jobs()
    for job in jobs:
        enqueue_by_rq(client, job)
    by_rq = everything(client)
    client.flushdb()
    JobQueue(client).enqueue(jobs)
    assert everything(client) == by_rq
    assert len(by_rq) == 5  # two hashes, two lists, and the set of queues


def test_rq_reads_it_back(client: Redis) -> None:
    for job in make_jobs():
        JobQueue(client).enqueue([job])
        queue = Queue(job.queue, connection=client, serializer=JSONSerializer)
        (stored,) = queue.jobs
        assert stored.id == stored.description == job.job_id
        assert (stored.func_name, stored.args) == (job.function, list(job.arguments))
        assert (stored.timeout, stored.failure_ttl) == (job.timeout_s, FAILURE_KEPT_S)
        assert stored.get_status() is JobStatus.QUEUED
        assert stored.created_at == stored.enqueued_at


def test_a_job_that_is_still_known_is_kept_for_as_long_as_a_new_one(client: Redis) -> None:
    job = make_jobs()[0]
    enqueue_by_rq(client, job)
    client.expire(RQJob.key_for(job.job_id), 500)
    JobQueue(client).enqueue([job])
    assert client.ttl(RQJob.key_for(job.job_id)) == -1


def test_hundreds_keep_their_order_in_one_round_trip(client: Redis) -> None:
    jobs = [SummaryJob(SessionId(new_id()), 1) for _ in range(350)]
    JobQueue(client).enqueue(jobs[:1])  # makes the server load the script
    before = client.info("stats")["total_reads_processed"]
    JobQueue(client).enqueue(jobs[1:])
    assert client.info("stats")["total_reads_processed"] - before < 15  # of some 64 KB each
    queue = Queue("summaries", connection=client, serializer=JSONSerializer)
    assert queue.get_job_ids() == [job.job_id for job in jobs]


def test_each_worker_serves_one_queue_and_looks_after_it_every_minute(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SimpleWorker] = []

    def note(self: SimpleWorker, **_: object) -> None:
        made.append(self)

    monkeypatch.setattr(SimpleWorker, "work", note)
    for name in QUEUES:
        work(client, name)
    assert [one.queue_names() for one in made] == [[name] for name in QUEUES]
    for one in made:
        assert one.maintenance_interval <= 60
        assert one.worker_ttl <= 75  # it waits that long less 15 s between two looks
        assert isinstance(one, job_queue._WatchedWorker)


class Evil:
    """What a pickle would do to whoever loads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self._path),))


def test_hostile_bytes_in_the_queue_run_nothing_and_stop_nobody(
    client: Redis, tmp_path: Path, kept_signals: None
) -> None:
    made = tmp_path / "made"
    evil = json.dumps(["os.mkdir", None, [str(made)], {}]).encode()
    ours = json.dumps(["timer_service.nothing.there", None, [], {}]).encode()
    hostile = {
        "pickle": zlib.compress(pickle.dumps(Evil(made))),
        "raw_pickle": pickle.dumps(Evil(made)),
        "named": zlib.compress(evil),
        "unknown": zlib.compress(ours),
        "junk": b"\xff" * 100,
    }
    (pattern,) = make_jobs()[:1]
    JobQueue(client).enqueue([pattern])
    fields = client.hgetall(RQJob.key_for(pattern.job_id))
    client.flushdb()
    queue = f"rq:queue:{SUMMARIES_QUEUE}"
    for name, data in hostile.items():
        client.hset(RQJob.key_for(name), mapping={**fields, b"data": data})
        client.rpush(queue, name)
    client.rpush(queue, "no_such_job", b"\xfe\xff")
    work(client, SUMMARIES_QUEUE, burst=True)
    assert not made.exists()
    assert client.llen(queue) == 0
    failed = {name for name in hostile if client.hget(RQJob.key_for(name), "status") == b"failed"}
    assert failed == set(hostile)


@pytest.mark.parametrize(
    "hook",
    [
        {"success_callback_name": "os.mkdir"},
        {"failure_callback_name": "os.mkdir"},
        {"stopped_callback_name": "os.mkdir"},
        {"webhooks": json.dumps([{"url": "http://127.0.0.1:9/", "job_status": "failed"}])},
    ],
    ids=lambda hook: next(iter(hook)),
)
def test_a_job_that_names_what_to_call_afterwards_is_refused_and_nothing_is_called(
    client: Redis, hook: dict[str, str], monkeypatch: pytest.MonkeyPatch, kept_signals: None
) -> None:
    called: list[object] = []
    monkeypatch.setattr(os, "mkdir", lambda *given: called.append(given))
    monkeypatch.setattr("rq.job.Job.perform", lambda _job: called.append("performed"))
    monkeypatch.setattr("rq.webhook.urlopen", lambda *given, **_: called.append(given))
    job = make_jobs()[0]
    JobQueue(client).enqueue([job])
    client.hset(RQJob.key_for(job.job_id), mapping=hook)
    work(client, SUMMARIES_QUEUE, burst=True)
    assert called == []
    assert client.hget(RQJob.key_for(job.job_id), "status") == b"failed"


@pytest.fixture
def kept_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
