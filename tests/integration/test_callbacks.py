"""Callbacks: each registered function is told of each closed session, at least once."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from tests.support.builders import NOAM, World, work_off, working_environment
from timer_service import callback_job
from timer_service.callback_job import MOST_ATTEMPTS
from timer_service.callbacks import load_callback
from timer_service.errors import InvalidInput
from timer_service.job_queue import CALLBACKS_QUEUE, CallbackJob
from timer_service.lease import LEASE_S
from timer_service.sweeper import MOST_DEATHS

PATH = "a_backend.hooks.on_closed"


class Backend:
    """A program's module with a callback in it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.faults: list[Exception] = []

    def on_closed(self, session: dict[str, Any]) -> None:
        self.told.append(session)
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    made = Backend()
    package, hooks = types.ModuleType("a_backend"), types.ModuleType("a_backend.hooks")
    hooks.on_closed = made.on_closed  # type: ignore[attr-defined]
    hooks.other = made.on_closed  # type: ignore[attr-defined]
    hooks.not_a_function = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_backend", package)
    monkeypatch.setitem(sys.modules, "a_backend.hooks", hooks)
    return made


@pytest.fixture(autouse=True)
def environment(world: World) -> Iterator[None]:
    with working_environment(world):
        yield


def call_all(world: World) -> None:
    work_off(world, CALLBACKS_QUEUE)


def runs(world: World) -> list[tuple[int, bool, bool]]:
    """Return attempt, whether it is done and whether it will be looked at again, of each run."""
    rows = world.read(
        "SELECT attempt, done_at IS NOT NULL AS done, next_check_at IS NOT NULL AS again "
        "FROM callback_runs ORDER BY session_id"
    )
    return [(row["attempt"], row["done"], row["again"]) for row in rows]


def job_of(world: World, session_id: UUID, attempt: int = 1) -> CallbackJob:
    row = world.read("SELECT id FROM close_callbacks")[0]
    return CallbackJob(session_id, row["id"], attempt)


class TestPaths:
    @pytest.mark.parametrize("path", [PATH, "a_backend.hooks:on_closed"])
    def test_both_spellings_are_found(self, backend: Backend, path: str) -> None:
        assert load_callback(path) == backend.on_closed

    @pytest.mark.parametrize(
        "path",
        ["nowhere.at_all", "a_backend.hooks.missing", "a_backend.hooks.not_a_function", "x", "",
         ".", "..a", "a_backend.hooks."],
    )  # fmt: skip
    def test_what_is_no_function_is_refused_at_once(
        self, world: World, backend: Backend, path: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            world.service.on_closed(path)
        assert caught.value.field == "path"
        assert world.read("SELECT 1 FROM close_callbacks") == []


class TestCalling:
    def test_it_is_called_with_the_closed_session_as_plain_json(
        self, world: World, backend: Backend
    ) -> None:
        world.service.on_closed(PATH)
        session_id = world.hear("hello", customer_name="Dana").session_id
        closed = world.service.complete(session_id)
        assert [one for one in world.queued() if one.startswith("callback")] == [
            job_of(world, session_id).job_id
        ]
        call_all(world)
        assert backend.told == [closed.model_dump(mode="json")]
        assert backend.told[0]["close_reason"] == "completed"
        assert isinstance(backend.told[0]["closed_at"], str)
        assert runs(world) == [(1, True, False)]

    def test_it_is_called_however_a_session_closed(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        world.hear()
        world.let_pass(901)
        world.sweeper.close_overdue_once()
        world.hear(contact=NOAM, sent_ago_s=7200)
        world.service.complete(world.hear().session_id)
        call_all(world)
        assert sorted(one["close_reason"] for one in backend.told) == [
            "completed", "idle", "recovered",
        ]  # fmt: skip

    def test_registering_twice_calls_once(self, world: World, backend: Backend) -> None:
        for _ in range(2):
            world.service.on_closed(PATH)
        world.service.complete(world.hear().session_id)
        call_all(world)
        assert len(backend.told) == 1

    def test_each_of_two_callbacks_is_called(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        world.service.on_closed("a_backend.hooks.other")
        world.service.complete(world.hear().session_id)
        call_all(world)
        assert len(backend.told) == 2

    def test_only_what_closes_after_registering_is_told(
        self, world: World, backend: Backend
    ) -> None:
        world.service.complete(world.hear().session_id)
        world.service.on_closed(PATH)
        call_all(world)
        world.let_pass(3600)
        world.sweeper.restart_callbacks_once()
        call_all(world)
        assert backend.told == []

    def test_a_callback_taken_back_is_not_called(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        world.service.complete(world.hear().session_id)
        assert world.service.no_longer_on_closed(PATH)
        assert not world.service.no_longer_on_closed(PATH)
        call_all(world)
        assert backend.told == []

    def test_a_job_that_runs_again_calls_nobody(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        call_all(world)
        world.jobs.enqueue([job_of(world, session_id)])
        call_all(world)
        assert len(backend.told) == 1


class TestFailing:
    def test_one_that_raises_is_tried_again_by_the_sweep(
        self, world: World, backend: Backend
    ) -> None:
        backend.faults = [RuntimeError("their defect"), RuntimeError("again")]
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        for _ in range(2):
            call_all(world)
            assert world.sweeper.restart_callbacks_once() == 0
            world.let_pass(91)
            assert world.sweeper.restart_callbacks_once() == 1
        call_all(world)
        assert len(backend.told) == 3
        assert runs(world) == [(3, True, False)]

    def test_what_it_raised_stands_in_rqs_own_record(self, world: World, backend: Backend) -> None:
        backend.faults = [RuntimeError("their defect")]
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        call_all(world)
        name = job_of(world, session_id).job_id
        job = Job.fetch(name, connection=world.queue_redis, serializer=JSONSerializer)
        assert job.get_status() is JobStatus.FAILED
        assert "their defect" in job.latest_result().exc_string

    def test_it_is_given_up_after_the_last_attempt(self, world: World, backend: Backend) -> None:
        backend.faults = [RuntimeError("for ever")]
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.run("UPDATE callback_runs SET attempt = :n", n=MOST_ATTEMPTS)
        callback_job.call_back(
            str(session_id), str(job_of(world, session_id).callback_id), MOST_ATTEMPTS
        )
        assert runs(world) == [(MOST_ATTEMPTS, True, False)]

    def test_a_lost_job_is_made_again(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.queue_redis.flushdb()
        world.let_pass(31)
        assert world.sweeper.restart_callbacks_once() == 1
        assert world.queued() == [job_of(world, session_id, 2).job_id]
        call_all(world)
        assert len(backend.told) == 1

    def test_one_that_still_waits_is_only_looked_at_later(
        self, world: World, backend: Backend
    ) -> None:
        world.service.on_closed(PATH)
        world.service.complete(world.hear().session_id)
        world.let_pass(31)
        assert world.sweeper.restart_callbacks_once() == 0
        assert runs(world) == [(1, False, True)]
        assert world.sweeper.restart_callbacks_once() == 0

    def test_one_that_killed_three_workers_is_parked(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        again = []
        for attempt in range(1, MOST_DEATHS + 1):
            backend.faults = [KeyboardInterrupt()]  # type: ignore[list-item]  # nobody catches it
            callback_id = str(job_of(world, session_id).callback_id)
            with pytest.raises(KeyboardInterrupt):
                callback_job.call_back(str(session_id), callback_id, attempt)
            world.queue_redis.flushdb()
            world.let_pass(LEASE_S + 1)
            again.append(world.sweeper.restart_callbacks_once())
        assert again == [1, 1, 0]
        assert runs(world) == [(MOST_DEATHS + 1, False, False)]
        world.let_pass(10_000)
        assert world.sweeper.restart_callbacks_once() == 0

    def test_a_superseded_attempt_calls_nobody(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.run("UPDATE callback_runs SET attempt = 2")
        call_all(world)
        assert backend.told == []

    def test_a_session_erased_meanwhile_is_no_error(self, world: World, backend: Backend) -> None:
        world.service.on_closed(PATH)
        world.service.complete(world.hear().session_id)
        world.administration.erase_business(world.business_id)
        call_all(world)
        assert backend.told == []
