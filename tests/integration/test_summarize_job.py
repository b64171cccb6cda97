"""The summary job: the row is the job, the attempt is the fence, the extractive one stands in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier, Event
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from tests.support import fake_model
from tests.support.builders import NOAM, World, work_off, working_environment
from tests.support.fake_model import FakeModel
from tests.support.waiting import wait_until
from timer_service import lease, summarize_job
from timer_service.errors import DatabaseUnavailable, SummaryRefused, SummaryTemporarilyFailed
from timer_service.ids import SessionId
from timer_service.job_queue import SUMMARIES_QUEUE, SummaryJob
from timer_service.lease import LEASE_S
from timer_service.messages import (
    ChangeKind,
    Delivery,
    DeliveryStatus,
    Direction,
    MessageChange,
    SummaryStatus,
)
from timer_service.records import summaries
from timer_service.resources import Summary
from timer_service.summarize_job import LONGEST_RETRY_AFTER_S, RETRY_AFTER_S, SummaryWorker
from timer_service.summarizers.base import SummaryContent, SummaryResult, Transcript, Wishes
from timer_service.sweeper import MOST_DEATHS, SETTLE_S

QUEUE = {"queue": SUMMARIES_QUEUE}


@dataclass
class StubSummarizer:
    """Notes what it was given; fails as often as told, then answers."""

    name: str = "openai"
    faults: list[Exception] = field(default_factory=list)
    seen: list[Transcript] = field(default_factory=list)
    before: Callable[[], object] | None = None

    def summarize(self, transcript: Transcript) -> SummaryResult:
        self.seen.append(transcript)
        if self.before is not None:
            self.before()
        if self.faults:
            raise self.faults.pop(0)
        content = SummaryContent(
            text=f"by {self.name}, of {len(transcript.turns)}",
            title="Blue shoes",
            asked_for="blue shoes",
            language="en",
            sentiment="neutral",
        )
        return SummaryResult(
            content=content,
            summarizer="openai" if self.name == "openai" else "extractive",
            model="model-1" if self.name == "openai" else None,
            message_ids=tuple(one.message_id for one in transcript.turns),
            tokens=7,
            dropped_turns=0,
        )


@pytest.fixture
def closed(world: World) -> SessionId:
    """Give a closed conversation of two messages."""
    session_id = world.hear("are the blue ones still in stock?", customer_name="Dana").session_id
    world.say("yes, size 38 is left")
    world.service.complete(session_id)
    return session_id


def worker(
    world: World, primary: StubSummarizer | None = None, fallback: StubSummarizer | None = None
) -> SummaryWorker:
    return SummaryWorker(world.database, primary, fallback or StubSummarizer("extractive"))


def summary_of(world: World, session_id: UUID) -> Summary:
    summary = world.session(session_id).summary
    assert summary is not None
    return summary


def due_in_s(world: World, session_id: UUID) -> float | None:
    row = world.read(
        "SELECT extract(epoch FROM next_check_at - clock_timestamp()) AS s FROM sessions "
        "WHERE id = :id",
        id=session_id,
    )[0]
    return None if row["s"] is None else float(row["s"])


def test_a_model_that_drips_on_past_the_jobs_time_out_has_timed_out(
    world: World, closed: SessionId
) -> None:
    model = StubSummarizer(faults=[JobTimeoutException("90 s")])
    pause_s = worker(world, model).summarize(closed, 1, 0)
    assert pause_s == RETRY_AFTER_S[0]
    assert (summary_of(world, closed).status, summary_of(world, closed).reason) == (
        "failed",
        "model_timeout",
    )


class TestDone:
    def test_the_summary_is_stored_with_all_it_says(self, world: World, closed: SessionId) -> None:
        model = StubSummarizer()
        assert worker(world, model).summarize(closed, 1, 0) is None
        session = world.session(closed)
        summary = summary_of(world, closed)
        assert session.summary_created
        assert (summary.status, summary.reason) == ("done", None)
        assert (summary.text, summary.title) == ("by openai, of 2", "Blue shoes")
        assert (summary.summarizer, summary.model, summary.tokens) == ("openai", "model-1", 7)
        told = world.service.transcript(world.business_id, closed)
        assert summary.message_ids == [one.id for one in told]
        assert due_in_s(world, closed) is None

    def test_the_summarizer_reads_this_session_only_and_in_order(self, world: World) -> None:
        first = world.hear("first conversation").session_id
        world.service.complete(first)
        second = world.hear("second, part one", customer_name="Dana").session_id
        world.say("second, part two")
        world.hear("somebody else", contact=NOAM)
        world.service.complete(second)
        model = StubSummarizer()
        worker(world, model).summarize(second, 1, 0)
        assert [one.text for one in model.seen[0].turns] == [
            "second, part one", "second, part two",
        ]  # fmt: skip
        assert [one.author for one in model.seen[0].turns] == ["customer", "agent"]
        assert (model.seen[0].customer_name, model.seen[0].business_name) == ("Dana", "Shop")

    def test_what_was_revoked_is_not_read(self, world: World) -> None:
        session_id = world.hear("my card is 1234", id="a").session_id
        world.hear("are the blue ones in stock?")
        world.record(MessageChange(kind=ChangeKind.REVOKE, direction=Direction.IN, target="a"))
        world.service.complete(session_id)
        model = StubSummarizer()
        worker(world, model).summarize(session_id, 1, 0)
        assert [one.text for one in model.seen[0].turns] == ["are the blue ones in stock?"]

    def test_what_never_reached_the_customer_is_not_read(self, world: World) -> None:
        session_id = world.hear("are the blue ones in stock?").session_id
        world.say("yes, two are left", id="b")
        world.record(DeliveryStatus(provider_message_id="b", status=Delivery.FAILED))
        world.service.complete(session_id)
        model = StubSummarizer()
        worker(world, model).summarize(session_id, 1, 0)
        assert [one.text for one in model.seen[0].turns] == ["are the blue ones in stock?"]

    def test_where_no_model_is_configured_the_extractive_one_is_asked(
        self, world: World, closed: SessionId
    ) -> None:
        worker(world).summarize(closed, 1, 0)
        summary = summary_of(world, closed)
        assert (summary.status, summary.summarizer) == ("done", "extractive")
        assert (summary.reason, summary.model) == (None, None)

    def test_a_business_may_want_no_model(self, world: World, closed: SessionId) -> None:
        world.set_rules(summarizer="extractive")
        model = StubSummarizer()
        worker(world, model).summarize(closed, 1, 0)
        assert model.seen == []
        summary = summary_of(world, closed)
        assert (summary.status, summary.summarizer, summary.reason) == ("done", "extractive", None)

    def test_the_model_is_told_what_the_business_wishes(
        self, world: World, closed: SessionId
    ) -> None:
        wishes = {"model": "finer-model", "language": "he", "instructions": "note the size"}
        world.set_rules(**{f"summary_{name}": value for name, value in wishes.items()})
        model = StubSummarizer()
        worker(world, model).summarize(closed, 1, 0)
        assert model.seen[0].wishes == Wishes(**wishes)


class TestFences:
    def test_a_job_that_runs_again_does_nothing(self, world: World, closed: SessionId) -> None:
        model = StubSummarizer()
        worker(world, model).summarize(closed, 1, 0)
        before = summary_of(world, closed)
        worker(world, model).summarize(closed, 1, 0)
        assert len(model.seen) == 1
        assert summary_of(world, closed) == before

    def test_a_superseded_attempt_does_not_even_begin(
        self, world: World, closed: SessionId
    ) -> None:
        world.service.summarize(world.business_id, closed)
        model = StubSummarizer()
        assert worker(world, model).summarize(closed, 1, 0) is None
        assert model.seen == []
        worker(world, model).summarize(closed, 2, 0)
        assert summary_of(world, closed).status == "done"

    def test_an_attempt_superseded_while_the_model_thinks_stores_nothing(
        self, world: World, closed: SessionId
    ) -> None:
        late = "I also need laces"

        def join() -> None:
            world.hear(late, id="late", sent_ago_s=61)

        world.let_pass(3600)
        world.run(
            "UPDATE sessions SET started_at = started_at - interval '1 hour', "
            "closed_at = clock_timestamp(), deadline_at = clock_timestamp(), "
            "due_not_before = 'epoch'"
        )
        slow = StubSummarizer(before=join)
        worker(world, slow).summarize(closed, 1, 0)
        assert summary_of(world, closed).status == "pending"
        assert not world.session(closed).summary_created
        again = StubSummarizer()
        worker(world, again).summarize(closed, 2, 0)
        assert [one.text for one in again.seen[0].turns][-1] == late
        assert summary_of(world, closed).text == "by openai, of 3"

    def test_two_workers_with_one_attempt_store_once(self, world: World, closed: SessionId) -> None:
        barrier = Barrier(2)
        stored: list[bool] = []
        finish = summaries.finish

        def note(*args: object, **more: object) -> bool:
            answer = finish(*args, **more)  # type: ignore[arg-type]
            stored.append(answer)
            return answer

        def run(_: int) -> None:
            worker(world, StubSummarizer(before=barrier.wait)).summarize(closed, 1, 0)

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
            patch.setattr(summaries, "finish", note)
            list(pool.map(run, range(2)))
        assert sorted(stored) == [False, True]
        assert summary_of(world, closed).status == "done"

    def test_an_open_session_is_not_summarised(self, world: World) -> None:
        session_id = world.hear("are the blue ones in stock?").session_id
        model = StubSummarizer()
        worker(world, model).summarize(session_id, 0, 0)
        assert model.seen == []
        assert world.session(session_id).summary is None

    def test_one_erased_meanwhile_is_no_error(self, world: World, closed: SessionId) -> None:
        world.administration.erase_business(world.business_id)
        assert worker(world, StubSummarizer()).summarize(closed, 1, 0) is None


class TestSkipped:
    @pytest.mark.parametrize("words", ["hi", "thanks!", "👍"])
    def test_a_greeting_is_skipped_and_nobody_is_asked(self, world: World, words: str) -> None:
        session_id = world.hear(words).session_id
        world.service.complete(session_id)
        model, fallback = StubSummarizer(), StubSummarizer("extractive")
        worker(world, model, fallback).summarize(session_id, 1, 0)
        summary = summary_of(world, session_id)
        assert (summary.status, summary.reason, summary.text) == ("skipped", "too_short", None)
        assert not world.session(session_id).summary_created
        assert model.seen == fallback.seen == []
        assert due_in_s(world, session_id) is None

    def test_an_empty_session_is_skipped(self, world: World) -> None:
        opened = world.intake.open_session(world.connection_id, NOAM)
        world.service.complete(opened.session_id)
        worker(world, StubSummarizer()).summarize(opened.session_id, 1, 0)
        assert summary_of(world, opened.session_id).status == "skipped"


def busy(retry_after_s: float | None = None) -> SummaryTemporarilyFailed:
    return SummaryTemporarilyFailed(
        "rate_limited", "the model is busy", retry_after_s=retry_after_s
    )


class TestFailing:
    def test_a_failing_model_is_tried_again_with_growing_pauses(
        self, world: World, closed: SessionId
    ) -> None:
        model = StubSummarizer(faults=[busy() for _ in RETRY_AFTER_S])
        pauses = []
        for tries in range(len(RETRY_AFTER_S)):
            pauses.append(worker(world, model).summarize(closed, 1, tries))
            summary = summary_of(world, closed)
            assert (summary.status, summary.reason) == ("failed", "rate_limited")
            # Not before the next try is in the queue, where the sweep sees that it waits.
            assert due_in_s(world, closed) > pauses[-1] + 10
        assert pauses == list(RETRY_AFTER_S)
        assert worker(world, model).summarize(closed, 1, len(RETRY_AFTER_S)) is None
        summary = summary_of(world, closed)
        assert (summary.status, summary.reason, summary.summarizer) == ("done", None, "openai")

    def test_after_the_last_try_the_extractive_one_stands_in_and_the_code_is_kept(
        self, world: World, closed: SessionId
    ) -> None:
        model = StubSummarizer(faults=[busy()])
        assert worker(world, model).summarize(closed, 1, len(RETRY_AFTER_S)) is None
        summary = summary_of(world, closed)
        assert (summary.status, summary.reason) == ("done", "rate_limited")
        assert (summary.summarizer, summary.text) == ("extractive", "by extractive, of 2")

    def test_a_refusal_is_not_tried_again(self, world: World, closed: SessionId) -> None:
        model = StubSummarizer(faults=[SummaryRefused("refused", "it will not")])
        assert worker(world, model).summarize(closed, 1, 0) is None
        summary = summary_of(world, closed)
        assert (summary.status, summary.reason) == ("done", "refused")
        assert summary.summarizer == "extractive"

    def test_a_better_one_asked_for_later_replaces_it_and_clears_the_code(
        self, world: World, closed: SessionId
    ) -> None:
        refusing = StubSummarizer(faults=[SummaryRefused("refused", "it will not")])
        worker(world, refusing).summarize(closed, 1, 0)
        first_at = summary_of(world, closed).created_at
        world.service.summarize(world.business_id, closed)
        assert summary_of(world, closed).status == "pending"
        assert world.session(closed).summary_created
        worker(world, StubSummarizer()).summarize(closed, 2, 0)
        summary = summary_of(world, closed)
        assert (summary.status, summary.reason, summary.summarizer) == ("done", None, "openai")
        assert summary.created_at > first_at
        assert len(world.read("SELECT 1 FROM summaries")) == 1

    @pytest.mark.parametrize(("asked", "pause"), [(60.0, 60), (1.0, 5), (99_999.0, None)])
    def test_what_the_model_asks_for_is_waited_within_reason(
        self, world: World, closed: SessionId, asked: float, pause: int | None
    ) -> None:
        found = worker(world, StubSummarizer(faults=[busy(asked)])).summarize(closed, 1, 0)
        assert found == (pause or LONGEST_RETRY_AFTER_S)

    def test_a_worker_that_dies_leaves_a_row_that_the_sweep_finds(
        self, world: World, closed: SessionId
    ) -> None:
        dying = StubSummarizer(faults=[KeyboardInterrupt()])  # type: ignore[list-item]
        with pytest.raises(KeyboardInterrupt):
            worker(world, dying).summarize(closed, 1, 0)
        assert summary_of(world, closed).status == "running"
        world.queue_redis.flushdb()
        assert world.sweeper.restart_summaries_once() == 0
        world.let_pass(LEASE_S + 1)
        assert world.sweeper.restart_summaries_once() == 1
        assert world.queued() == [f"summarize_{closed}_2"]
        worker(world, StubSummarizer()).summarize(closed, 1, 0)
        assert not world.session(closed).summary_created
        worker(world, StubSummarizer()).summarize(closed, 2, 0)
        assert world.session(closed).summary_created


def _away(*_: object, **__: object) -> None:
    raise DatabaseUnavailable("away")


class Death(BaseException):
    """What no code of ours catches: the nearest to a worker that is gone."""


def die(world: World, session_id: SessionId) -> int:
    """Let a worker die over the summary's current attempt; return how many are begun again."""
    attempt = world.read("SELECT summary_attempt AS n FROM sessions")[0]["n"]
    with pytest.raises(Death):
        worker(world, StubSummarizer(faults=[Death()])).summarize(  # type: ignore[list-item]
            session_id, attempt, 0
        )
    world.queue_redis.flushdb()
    world.let_pass(LEASE_S + 1)
    return world.sweeper.restart_summaries_once()


class TestWorkersThatDie:
    def test_what_killed_three_workers_is_parked_and_says_so(
        self, world: World, closed: SessionId
    ) -> None:
        parked_before = REGISTRY.get_sample_value("timer_jobs_parked_total", QUEUE) or 0
        assert [die(world, closed) for _ in range(MOST_DEATHS)] == [1] * (MOST_DEATHS - 1) + [0]
        summary = summary_of(world, closed)
        assert (summary.status, summary.reason, summary.text) == ("failed", "worker_died", None)
        assert REGISTRY.get_sample_value("timer_jobs_parked_total", QUEUE) == parked_before + 1
        assert world.queued() == []
        world.let_pass(10_000)
        assert world.sweeper.restart_summaries_once() == 0

    def test_a_parked_one_that_is_asked_for_again_gets_one_more_life(
        self, world: World, closed: SessionId
    ) -> None:
        for _ in range(MOST_DEATHS):
            die(world, closed)
        world.service.summarize(world.business_id, closed)
        assert die(world, closed) == 0
        assert summary_of(world, closed).reason == "worker_died"
        world.service.summarize(world.business_id, closed)
        attempt = world.read("SELECT summary_attempt AS n FROM sessions")[0]["n"]
        worker(world, StubSummarizer()).summarize(closed, attempt, 0)
        assert (summary_of(world, closed).status, summary_of(world, closed).reason) == (
            "done",
            None,
        )

    def test_jobs_that_are_only_lost_kill_nobody(self, world: World, closed: SessionId) -> None:
        for _ in range(MOST_DEATHS + 1):
            world.queue_redis.flushdb()
            world.let_pass(31)
            assert world.sweeper.restart_summaries_once() == 1
        assert summary_of(world, closed).status == "pending"

    def test_postgres_going_away_in_the_middle_again_and_again_is_no_death(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with working_environment(world, TIMER_SUMMARIZER="extractive"):
            for _ in range(MOST_DEATHS + 1):
                with monkeypatch.context() as patch:
                    patch.setattr(summaries, "finish", _away)
                    work_off(world, SUMMARIES_QUEUE)
                assert summary_of(world, closed).status == "running"
                world.let_pass(LEASE_S + 1)
                assert world.sweeper.restart_summaries_once() == 1
            work_off(world, SUMMARIES_QUEUE)
        assert summary_of(world, closed).status == "done"
        assert world.read("SELECT summary_deaths AS n FROM sessions")[0]["n"] == 0

    def test_one_that_breaks_every_time_is_parked_all_the_same(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def break_down(*_: object, **__: object) -> bool:
            raise RuntimeError("broken")

        monkeypatch.setattr(summaries, "finish", break_down)
        with working_environment(world, TIMER_SUMMARIZER="extractive"):
            for again in [1] * (MOST_DEATHS - 1) + [0]:
                work_off(world, SUMMARIES_QUEUE)
                world.let_pass(LEASE_S + 1)
                assert world.sweeper.restart_summaries_once() == again
        assert summary_of(world, closed).reason == "worker_died"

    def test_after_postgres_was_away_living_workers_have_time_to_say_so(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with world.database.transaction() as db:
            summaries.start(db, closed, 1, lease=lease.LEASE)
        world.queue_redis.flushdb()
        world.let_pass(LEASE_S + 1)
        now_s = 1_000.0
        monkeypatch.setattr("timer_service.sweeper.monotonic_s", lambda: now_s)
        with monkeypatch.context() as patch:
            patch.setattr(summaries, "unfinished", _away)
            world.sweeper.sweep_once()
        assert world.sweeper.restart_summaries_once() == 0
        now_s += SETTLE_S + 1
        assert world.sweeper.restart_summaries_once() == 1

    def test_a_worker_told_to_stop_gives_it_back_and_may_still_finish_it(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "_stopping", Event())
        monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)

        def stop() -> None:
            lease.give_back_leases()
            wait_until(lambda: summary_of(world, closed).status == "pending", what="given back")

        worker(world, StubSummarizer(before=stop)).summarize(closed, 1, 0)
        assert summary_of(world, closed).status == "done"

    def test_one_that_is_killed_after_giving_it_back_has_not_died_over_it(
        self, world: World, closed: SessionId
    ) -> None:
        for attempt in range(1, MOST_DEATHS + 2):
            with world.database.transaction() as db:
                summaries.start(db, closed, attempt, lease=lease.LEASE)
                summaries.give_back(db, closed, attempt, check_after=lease.GIVEN_BACK_FOR)
            world.queue_redis.flushdb()
            world.let_pass(LEASE_S + 1)
            assert world.sweeper.restart_summaries_once() == 1

    def test_a_model_that_takes_longer_than_the_lease_is_asked_once(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
        again: list[int] = []

        def think() -> None:
            for _ in range(3):
                world.let_pass(LEASE_S - 1)
                wait_until(lambda: due_in_s(world, closed) > LEASE_S - 1, what="it is renewed")
                again.append(world.sweeper.restart_summaries_once())

        slow = StubSummarizer(before=think)
        worker(world, slow).summarize(closed, 1, 0)
        assert again == [0, 0, 0]
        assert len(slow.seen) == 1
        assert summary_of(world, closed).status == "done"


class TestThroughRQ:
    def test_from_the_closing_to_the_summary(self, world: World, closed: SessionId) -> None:
        with working_environment(world):
            work_off(world, SUMMARIES_QUEUE)
        summary = summary_of(world, closed)
        assert (summary.status, summary.summarizer) == ("done", "extractive")
        assert len(summary.message_ids) == 2
        assert world.queued() == []

    def test_a_job_carries_ids_only_as_json(self, world: World, closed: SessionId) -> None:
        raw = world.queue_redis.hgetall(f"rq:job:summarize_{closed}_1")
        job = Job.fetch(
            f"summarize_{closed}_1", connection=world.queue_redis, serializer=JSONSerializer
        )
        assert job.func_name == "timer_service.summarize_job.summarize_session"
        assert job.args == [str(closed), 1]
        assert all(word not in str(raw) for word in ("blue", "Dana", "97250"))

    def test_a_failing_model_is_tried_again_by_rq_and_then_replaced(
        self, world: World, closed: SessionId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(summarize_job, "RETRY_AFTER_S", (0, 0, 0))
        with (
            FakeModel() as model,
            working_environment(world, OPENAI_BASE_URL=model.url, OPENAI_API_KEY="k"),
        ):
            model.always(fake_model.error(503))
            work_off(world, SUMMARIES_QUEUE)
        summary = summary_of(world, closed)
        assert (summary.status, summary.summarizer) == ("done", "extractive")
        assert summary.reason
        assert len(model.requests) == 4

    def test_between_tries_the_job_is_scheduled_and_the_sweep_waits_for_it(
        self, world: World, closed: SessionId
    ) -> None:
        with (
            FakeModel() as model,
            working_environment(world, OPENAI_BASE_URL=model.url, OPENAI_API_KEY="k"),
        ):
            model.always(fake_model.error(503))
            work_off(world, SUMMARIES_QUEUE)
        job = SummaryJob(closed, 1)
        found = Job.fetch(job.job_id, connection=world.queue_redis, serializer=JSONSerializer)
        assert found.get_status() is JobStatus.SCHEDULED
        assert found.number_of_retries == 1
        assert world.jobs.still_waiting([job]) == {job.job_id}
        world.let_pass(3600)
        assert world.sweeper.restart_summaries_once() == 0

    def test_a_job_handed_to_a_worker_that_had_died_is_made_again(
        self, world: World, closed: SessionId
    ) -> None:
        queue = Queue(SUMMARIES_QUEUE, world.queue_redis, serializer=JSONSerializer)
        handed_over = world.queue_redis.lmove(queue.key, queue.intermediate_queue_key)
        assert handed_over == SummaryJob(closed, 1).job_id.encode()
        world.let_pass(3600)
        assert world.sweeper.restart_summaries_once() == 1
        with working_environment(world):
            work_off(world, SUMMARIES_QUEUE)
        assert summary_of(world, closed).status == "done"

    def test_a_model_that_answers_is_stored_with_its_tokens(
        self, world: World, closed: SessionId
    ) -> None:
        with (
            FakeModel() as model,
            working_environment(world, OPENAI_BASE_URL=model.url, OPENAI_API_KEY="k"),
        ):
            work_off(world, SUMMARIES_QUEUE)
        summary = summary_of(world, closed)
        assert (summary.summarizer, summary.tokens) == ("openai", 321)
        assert summary.title == fake_model.SUMMARY["title"]

    def test_a_late_message_has_the_summary_made_again_and_replaced(self, world: World) -> None:
        session_id = world.hear("are the blue ones still in stock?").session_id
        world.let_pass(3600)
        world.sweeper.close_overdue_once()
        with working_environment(world):
            work_off(world, SUMMARIES_QUEUE)
            before = summary_of(world, session_id)
            world.hear("in size 38, please, and deliver to Haifa", sent_ago_s=3500)
            work_off(world, SUMMARIES_QUEUE)
        after = summary_of(world, session_id)
        assert len(before.message_ids) == 1
        assert len(after.message_ids) == 2
        assert after.created_at > before.created_at

    def test_a_job_of_a_wiped_queue_is_made_again_by_the_sweep_and_done(
        self, world: World, closed: SessionId
    ) -> None:
        world.queue_redis.flushdb()
        with pytest.raises(NoSuchJobError):
            Job.fetch(f"summarize_{closed}_1", connection=world.queue_redis)
        world.let_pass(timedelta(seconds=31).total_seconds())
        world.sweeper.sweep_once()
        with working_environment(world):
            work_off(world, SUMMARIES_QUEUE)
        assert world.session(closed).summary_created


def test_only_what_must_last_waits_for_the_disk(world: World, closed: SessionId) -> None:
    how = "SELECT current_setting('synchronous_commit')"
    with world.database.transaction() as db:
        assert summaries.start(db, closed, 1, lease=lease.LEASE) is not None
        assert db.exec_driver_sql(how).scalar_one() == "off"
    with world.database.transaction() as db:
        assert summaries.finish(db, closed, 1, SummaryStatus.DONE)
        assert db.exec_driver_sql(how).scalar_one() == "on"
