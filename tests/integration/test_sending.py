"""Sending: once, in turn, and never again by itself where nobody knows what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from rq.timeouts import JobTimeoutException

from tests.support.builders import DANA, World, work_off, working_environment
from tests.support.fake_gateway import FakeGateway, says, takes_and_breaks, takes_and_hangs
from tests.support.waiting import wait_until
from timer_service import gateway_http, send_job
from timer_service.demo.loopback_server import Reply
from timer_service.errors import DatabaseUnavailable
from timer_service.follow_up import Outcome
from timer_service.ids import ConnectionId
from timer_service.job_queue import SENDS_QUEUE, SendJob
from timer_service.message_sender import LEASE, RETRY_AFTER_S
from timer_service.messages import Author, Delivery, DeliveryStatus, ProviderName
from timer_service.outgoing import Decision, MessageToSend, Outbox
from timer_service.providers.sending import Pace
from timer_service.records import sends
from timer_service.resources import Message
from timer_service.send_pace import SendPace

TEXT = "Your order shipped."


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


@pytest.fixture
def outbox(world: World, gateway: FakeGateway) -> Iterator[Outbox]:
    """Give an outbox to a shop whose customer wrote a moment ago."""
    connect(world, world.connection_id, gateway, access_token="meta-token")
    world.hear()
    with working_environment(world):
        yield Outbox(world.database, world.intake, world.follow_up)


def connect(
    world: World, connection_id: ConnectionId, gateway: FakeGateway, **secrets: str
) -> None:
    values = {"base_url": gateway.url, "secrets": secrets}
    world.administration.change_connection(world.business_id, connection_id, values)


def waha(world: World, gateway: FakeGateway) -> ConnectionId:
    connection_id = world.add_connection("default", ProviderName.WAHA)
    connect(world, connection_id, gateway, api_key="waha-key")
    return connection_id


def send(outbox: Outbox, world: World, **values: Any) -> Message:
    new: dict[str, Any] = {
        "connection_id": world.connection_id, "to": DANA.phone, "text": TEXT, **values
    }  # fmt: skip
    return outbox.send(world.business_id, MessageToSend(**new))


def work(world: World) -> None:
    work_off(world, SENDS_QUEUE)


def status_of(outbox: Outbox, world: World, message: Message) -> str | None:
    return outbox.message(world.business_id, message.id).status


def told(
    world: World, status: Delivery, name: str, connection_id: ConnectionId | None = None,
    **more: Any,
) -> None:  # fmt: skip
    world.record(
        DeliveryStatus(provider_message_id=name, status=status, **more),
        connection_id=connection_id,
    )


class TestTheWay:
    def test_a_message_is_queued_and_sent_once(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        queued = send(outbox, world)
        assert (queued.status, queued.provider_message_id) == ("queued", None)
        assert gateway.requests == []
        work(world)
        sent = outbox.message(world.business_id, queued.id)
        assert (sent.status, sent.provider_message_id) == ("sent", "fake-1")
        assert sent.sent_at is not None
        assert [one.document["text"]["body"] for one in gateway.requests] == [TEXT]
        world.let_pass(3600)
        world.sweeper.sweep_once()
        work(world)
        assert len(gateway.requests) == 1

    def test_it_joins_the_open_session_and_does_not_touch_it(
        self, world: World, outbox: Outbox
    ) -> None:
        before = world.sessions()[0]
        message = send(outbox, world)
        (after,) = world.sessions()
        assert message.session_id == after.id
        assert after.message_count == before.message_count + 1
        assert after.last_message_at > before.last_message_at
        assert after.deadline_at == before.deadline_at

    def test_it_touches_where_the_business_says_that_any_message_does(
        self, world: World, outbox: Outbox
    ) -> None:
        world.set_rules(touch_on="any")
        before = world.sessions()[0]
        send(outbox, world)
        assert world.sessions()[0].deadline_at > before.deadline_at

    def test_it_opens_a_session_where_none_is_open(self, world: World, outbox: Outbox) -> None:
        first = world.sessions()[0]
        world.service.complete(first.id)
        message = send(outbox, world, connection_id=None, to=None, session_id=first.id)
        opened = world.sessions()[1]
        assert message.session_id == opened.id
        assert opened.is_open
        assert opened.contact_id == first.contact_id
        assert world.counted_by_redis() == 1

    def test_the_same_job_twice_sends_once(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        message = send(outbox, world)
        send_job.send_message(str(message.id), 1)
        send_job.send_message(str(message.id), 1)
        work(world)
        assert len(gateway.requests) == 1

    def test_a_lost_job_is_made_again(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        message = send(outbox, world)
        world.queue_redis.flushdb()
        world.sweeper.sweep_once()
        assert world.queued() == []
        world.let_pass(40)
        assert world.sweeper.sweep_once()["sends"] == 1
        assert world.queued() == [SendJob(message.id, 2).job_id]
        work(world)
        assert status_of(outbox, world, message) == "sent"
        assert len(gateway.requests) == 1

    def test_a_waiting_job_is_not_made_again(self, world: World, outbox: Outbox) -> None:
        message = send(outbox, world)
        world.let_pass(40)
        assert world.sweeper.restart_sends_once() == 0
        assert world.queued() == [SendJob(message.id, 1).job_id]

    def test_nothing_of_what_is_written_stands_in_the_log(
        self, world: World, outbox: Outbox, gateway: FakeGateway, capfd: pytest.CaptureFixture[str]
    ) -> None:
        gateway.will(says("meta/api_error_400_131030_not_allowed.json", 400))
        send(outbox, world)
        send(outbox, world)
        work(world)
        said = "".join(capfd.readouterr())
        assert "message_sent" in said
        assert not any(secret in said for secret in (TEXT, DANA.phone or "", "meta-token"))


class TestReferences:
    def test_the_same_reference_is_the_same_message(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        first = send(outbox, world, client_ref="order-1")
        work(world)
        again = send(outbox, world, client_ref="order-1")
        assert again.id == first.id
        assert again.status == "sent"
        work(world)
        assert len(gateway.requests) == 1
        assert world.sessions()[0].message_count == 2

    def test_it_stays_so_when_the_window_has_closed(self, world: World, outbox: Outbox) -> None:
        first = send(outbox, world, client_ref="order-1")
        world.let_pass(25 * 3600)
        assert send(outbox, world, client_ref="order-1").id == first.id

    def test_many_at_one_time_are_one_message(self, world: World, outbox: Outbox) -> None:

        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda _: send(outbox, world, client_ref="order-1"), range(6)))
        assert len({one.id for one in made}) == 1
        assert world.read("SELECT count(*) FROM sends")[0]["count"] == 1
        assert world.sessions()[0].message_count == 2


class TestRefusals:
    def test_what_will_never_be_taken_fails_with_the_gateways_code(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        gateway.will(says("meta/api_error_400_131030_not_allowed.json", 400))
        message = send(outbox, world)
        work(world)
        failed = outbox.message(world.business_id, message.id)
        assert (failed.status, failed.error_code, failed.failure, failed.retryable) == (
            "failed", 131030, "recipient", False,
        )  # fmt: skip
        world.let_pass(3600)
        world.sweeper.sweep_once()
        work(world)
        assert len(gateway.requests) == 1

    def test_what_may_be_taken_later_is_tried_again_and_not_before(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        gateway.will(says("meta/api_error_400_130429_rate.json", 400, retry_after="7"))
        message = send(outbox, world)
        retry = send_job.send_message(str(message.id), 1)
        assert retry is not None
        assert retry.intervals == [7]
        assert status_of(outbox, world, message) == "sending"
        assert send_job.send_message(str(message.id), 1) is None
        assert status_of(outbox, world, message) == "sent"
        assert len(gateway.requests) == 2

    def test_in_the_end_it_fails_and_may_be_sent_again_by_hand(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        gateway.will(*[says("meta/api_error_400_130429_rate.json", 400)] * (len(RETRY_AFTER_S) + 1))
        message = send(outbox, world)
        pauses = [send_job.send_message(str(message.id), 1) for _ in range(len(RETRY_AFTER_S) + 1)]
        assert [one and one.intervals[0] for one in pauses] == [*RETRY_AFTER_S, None]
        failed = outbox.message(world.business_id, message.id)
        assert (failed.status, failed.retryable) == ("failed", True)
        outbox.decide(world.business_id, message.id, Decision.SEND_AGAIN)
        work(world)
        assert status_of(outbox, world, message) == "sent"

    def test_a_gateway_that_is_not_there_is_tried_again(self, world: World, outbox: Outbox) -> None:
        values = {"base_url": "http://127.0.0.1:9"}
        world.administration.change_connection(world.business_id, world.connection_id, values)
        message = send(outbox, world)
        assert send_job.send_message(str(message.id), 1) is not None
        assert status_of(outbox, world, message) == "sending"

    def test_without_credentials_it_fails_at_once(self, world: World, outbox: Outbox) -> None:
        world.run(
            "UPDATE connections SET secrets = :sealed",
            sealed=world.secret_box.seal(world.business_id, world.connection_id, {}),
        )
        message = send(outbox, world)
        work(world)
        failed = outbox.message(world.business_id, message.id)
        assert (failed.status, failed.failure) == ("failed", "no_credentials")

    def test_a_connection_deleted_meanwhile_sends_nothing(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        message = send(outbox, world)
        world.administration.delete_connection(world.business_id, world.connection_id)
        work(world)
        assert outbox.message(world.business_id, message.id).failure == "connection_gone"
        assert gateway.requests == []


class TestNobodyKnows:
    @pytest.mark.parametrize("trouble", ["silence", "break", "time-out", "502"])
    def test_what_may_have_been_taken_is_never_sent_again_by_itself(
        self,
        world: World,
        outbox: Outbox,
        gateway: FakeGateway,
        monkeypatch: pytest.MonkeyPatch,
        trouble: str,
    ) -> None:

        monkeypatch.setattr(gateway_http, "ANSWER_TIMEOUT_S", 0.2)
        if trouble == "silence":
            gateway.will(takes_and_hangs())
        elif trouble == "502":
            gateway.will(Reply(502, b"<html>Bad Gateway</html>"))
        else:
            gateway.will(takes_and_breaks())
        if trouble == "time-out":
            monkeypatch.setattr(send_job._sender()._gateways._client, "stream", _raise_time_out)
        message = send(outbox, world)
        work(world)
        assert status_of(outbox, world, message) == "unknown"
        for _ in range(3):
            world.let_pass(600)
            world.sweeper.sweep_once()
            work(world)
        assert status_of(outbox, world, message) == "unknown"
        assert len(gateway.requests) == (0 if trouble == "time-out" else 1)

    def test_a_worker_that_died_while_it_asked_leaves_it_unknown(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        message = send(outbox, world)
        with world.database.transaction() as db:
            assert sends.start(db, message.id, 1, lease=LEASE) is not None
        with world.database.transaction() as db:
            assert sends.start(db, message.id, 1, lease=LEASE) is None
        world.sweeper.sweep_once()
        assert status_of(outbox, world, message) == "sending"
        world.let_pass(LEASE.total_seconds() + 1)
        assert world.sweeper.sweep_once()["settled_sends"] == 1
        assert status_of(outbox, world, message) == "unknown"
        work(world)
        assert gateway.requests == []

    def test_a_worker_given_up_too_early_is_still_believed(
        self, world: World, outbox: Outbox
    ) -> None:
        message = send(outbox, world)
        with world.database.transaction() as db:
            sends.start(db, message.id, 1, lease=LEASE)
        world.let_pass(LEASE.total_seconds() + 1)
        world.sweeper.sweep_once()
        with world.database.transaction() as db:
            sends.accept(db, message.id, 1, "fake-1")
        assert status_of(outbox, world, message) == "sent"

    def test_a_status_that_carries_our_id_tells(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        gateway.will(takes_and_breaks())
        message = send(outbox, world)
        work(world)
        told(world, Delivery.DELIVERED, "wamid.9", message_id=message.id)
        told(world, Delivery.SENT, "wamid.9", message_id=message.id)
        known = outbox.message(world.business_id, message.id)
        assert (known.status, known.provider_message_id) == ("delivered", "wamid.9")
        told(world, Delivery.READ, "wamid.9")
        assert status_of(outbox, world, message) == "read"

    def test_our_id_says_nothing_at_another_connection(self, world: World, outbox: Outbox) -> None:
        message = send(outbox, world)
        other = world.add_connection("another")
        told(world, Delivery.READ, "wamid.9", other, message_id=message.id)
        assert status_of(outbox, world, message) == "queued"

    @pytest.mark.parametrize(
        ("decision", "status"), [(Decision.SENT, "sent"), (Decision.FAILED, "failed")]
    )
    def test_a_person_decides(
        self, world: World, outbox: Outbox, gateway: FakeGateway, decision: Decision, status: str
    ) -> None:
        gateway.will(takes_and_breaks())
        message = send(outbox, world)
        work(world)
        assert outbox.decide(world.business_id, message.id, decision).status == status

    def test_a_person_has_it_sent_again(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        gateway.will(takes_and_breaks())
        message = send(outbox, world)
        work(world)
        again = outbox.decide(world.business_id, message.id, Decision.SEND_AGAIN)
        assert again.status == "queued"
        work(world)
        assert status_of(outbox, world, message) == "sent"
        assert len(gateway.requests) == 2


def _raise_time_out(*_: object, **__: object) -> None:
    raise JobTimeoutException("30 s")


class TestStatuses:
    def test_they_only_move_forward_in_whatever_order_they_come(
        self, world: World, outbox: Outbox
    ) -> None:
        message = send(outbox, world)
        work(world)
        seen = []
        for status in (Delivery.DELIVERED, Delivery.PENDING, Delivery.SENT, Delivery.DELIVERED,
                       Delivery.FAILED, Delivery.READ, Delivery.DELIVERED):  # fmt: skip
            told(world, status, "fake-1")
            seen.append(status_of(outbox, world, message))
        assert seen == ["delivered"] * 5 + ["read"] * 2

    def test_a_failed_status_keeps_its_code(self, world: World, outbox: Outbox) -> None:
        message = send(outbox, world)
        work(world)
        told(world, Delivery.FAILED, "fake-1", error_code=131026, retryable=False)
        failed = outbox.message(world.business_id, message.id)
        assert (failed.status, failed.error_code, failed.retryable) == ("failed", 131026, False)
        told(world, Delivery.READ, "fake-1")
        assert status_of(outbox, world, message) == "failed"

    def test_one_that_overtakes_the_answer_is_not_taken_back(
        self, world: World, outbox: Outbox
    ) -> None:
        message = send(outbox, world)
        with world.database.transaction() as db:
            sends.start(db, message.id, 1, lease=LEASE)
        told(world, Delivery.DELIVERED, "wamid.9", message_id=message.id)
        with world.database.transaction() as db:
            sends.accept(db, message.id, 1, "wamid.9")
        assert status_of(outbox, world, message) == "delivered"


class TestEchoes:
    def test_what_comes_back_afterwards_is_not_kept_twice(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        connection_id = waha(world, gateway)
        message = send(outbox, world, connection_id=connection_id)
        work(world)
        (echo,) = world.record(
            world.said(TEXT, id="fake-1", author=Author.BOT), connection_id=connection_id
        )
        assert echo.duplicate
        assert world.texts_of(message.session_id) == [TEXT]

    def test_what_came_back_before_the_answer_is_not_kept_twice(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        connection_id = waha(world, gateway)
        message = send(outbox, world, connection_id=connection_id)
        world.record(world.said(TEXT, id="fake-1", author=Author.BOT), connection_id=connection_id)
        told(world, Delivery.READ, "fake-1", connection_id)
        work(world)
        assert world.texts_of(message.session_id) == [TEXT]
        assert world.session(message.session_id).message_count == 1
        known = outbox.message(world.business_id, message.id)
        assert (known.status, known.provider_message_id) == ("read", "fake-1")

    def test_a_gateway_that_names_two_messages_alike_takes_neither_away(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        connection_id = waha(world, gateway)
        gateway.will(*[Reply(201, b'{"id": "same"}', {"Content-Type": "application/json"})] * 2)
        one, other = (
            send(outbox, world, connection_id=connection_id, text=text) for text in ("one", "other")
        )
        work(world)
        assert world.texts_of(one.session_id) == ["one", "other"]
        assert [status_of(outbox, world, sent) for sent in (one, other)] == ["sent", "sent"]

    @pytest.mark.parametrize("is_taken", [True, False])
    def test_what_came_back_tells_of_a_message_without_the_gateways_id(
        self, world: World, outbox: Outbox, gateway: FakeGateway, is_taken: bool
    ) -> None:

        connection_id = waha(world, gateway)
        gateway.will(Reply(201, b"") if is_taken else takes_and_breaks())
        message = send(outbox, world, connection_id=connection_id)
        other = send(outbox, world, connection_id=connection_id, text="something else")
        work(world)
        assert status_of(outbox, world, message) == ("sent" if is_taken else "unknown")
        world.record(world.said(TEXT, id="3EB01", author=Author.BOT), connection_id=connection_id)
        world.let_pass(30)
        world.sweeper.sweep_once()
        known = outbox.message(world.business_id, message.id)
        assert (known.status, known.provider_message_id) == ("sent", "3EB01")
        assert world.session(message.session_id).message_count == 2
        assert outbox.message(world.business_id, other.id).provider_message_id == "fake-2"

    def test_an_agents_own_words_are_no_echo(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        connection_id = waha(world, gateway)
        gateway.will(takes_and_breaks())
        message = send(outbox, world, connection_id=connection_id)
        work(world)
        world.record(world.said(TEXT, id="3EB01", author=Author.AGENT), connection_id=connection_id)
        world.let_pass(30)
        world.sweeper.sweep_once()
        assert status_of(outbox, world, message) == "unknown"


class TestPace:
    def test_some_go_at_once_and_then_one_every_interval(self, world: World) -> None:
        pace, connection_id = SendPace(world.redis), ConnectionId(uuid4())
        waits = [pace.take_turn(connection_id, Pace(per_s=1, burst=3)) for _ in range(6)]
        assert waits[:3] == [0, 0, 0]
        assert waits[3:] == [pytest.approx(one, abs=0.3) for one in (1, 2, 3)]

    def test_connections_do_not_wait_for_each_other(self, world: World) -> None:
        pace = SendPace(world.redis)
        waits = [pace.take_turn(ConnectionId(uuid4()), Pace(1, 1)) for _ in range(3)]
        assert waits == [0, 0, 0]

    def test_a_message_waits_for_its_turn_and_takes_it_once(
        self, world: World, outbox: Outbox, gateway: FakeGateway
    ) -> None:
        connection_id = waha(world, gateway)
        made = [send(outbox, world, connection_id=connection_id) for _ in range(5)]
        retries = [send_job.send_message(str(one.id), 1) for one in made]
        assert [one is None for one in retries] == [True, True, True, False, False]
        assert len(gateway.requests) == 3
        assert status_of(outbox, world, made[4]) == "queued"
        world.let_pass(10)
        assert [send_job.send_message(str(one.id), 1) for one in made[3:]] == [None, None]
        assert len(gateway.requests) == 5


def test_a_message_whose_transaction_failed_is_not_there(
    world: World, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> UUID:
        raise DatabaseUnavailable("cut by the test")

    monkeypatch.setattr(sends, "add", fail)
    with pytest.raises(DatabaseUnavailable):
        send(outbox, world)
    assert world.texts_of(world.sessions()[0].id) == ["is the blue one in stock?"]
    assert Outcome().jobs == {}


def test_a_worker_killed_while_the_gateway_has_the_message_sends_it_no_second_time(
    world: World, outbox: Outbox, gateway: FakeGateway
) -> None:
    gateway.will(takes_and_hangs())
    message = send(outbox, world)
    command = [sys.executable, "-m", "timer_service", "work", "--queue", SENDS_QUEUE]
    # The environment is this world's, by `outbox`; RQ's scheduler is a process beside it.
    worker = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    try:
        wait_until(lambda: gateway.requests, within_s=40)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert status_of(outbox, world, message) == "sending"
    world.let_pass(LEASE.total_seconds() + 1)
    world.sweeper.sweep_once()
    assert status_of(outbox, world, message) == "unknown"
    send_job.send_message(str(message.id), 1)
    work(world)
    assert len(gateway.requests) == 1
