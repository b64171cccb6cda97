"""Whenever a gateway tells how far a message got, it is heard: early, late, twice, in any order.

Of all four gateways: their own server takes the message, and what it tells are their own webhooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import DANA, World, working_environment
from tests.support.fake_gateway import FakeGateway, takes_and_breaks
from tests.support.told_webhooks import items_of
from tests.support.waiting import wait_until
from timer_service import send_job
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.demo.gateway_server import Step
from timer_service.demo.gateways import demo_gateways
from timer_service.ids import ConnectionId
from timer_service.messages import Delivery, DeliveryStatus, ProviderName
from timer_service.outgoing import MessageToSend, Outbox
from timer_service.providers import SENDERS
from timer_service.providers.sending import Pace
from timer_service.records import early_statuses, sends
from timer_service.resources import Message

TEXT = "Your order shipped."
STATUSES = (Delivery.SENT, Delivery.DELIVERED, Delivery.READ)
ORDER = ["queued", "sending", "unknown", "pending", "sent", "delivered", "read", "played"]

every_gateway = pytest.mark.parametrize("provider", list(ProviderName))
steps = st.builds(
    Step, st.sampled_from([None, *STATUSES, Delivery.FAILED]), st.sampled_from([None, 0.0, 0.01])
)


class Line:
    """A shop's number at one gateway, which tells the shop of what it takes."""

    def __init__(self, world: World, server: FakeGateway, provider: ProviderName) -> None:
        self.world, self.server = world, server
        gateway = demo_gateways(b"secret")[provider]
        connection = world.administration.add_connection(
            world.business_id,
            provider=provider,
            external_id=gateway.external_id,
            base_url=server.url,
            secrets=gateway.secrets,
        )
        self.connection_id = ConnectionId(connection.id)
        self.gateway: Gateway = gateway.at(connection.webhook_url)
        self.url = connection.webhook_url
        self.outbox = Outbox(world.database, world.intake, world.follow_up)
        self.told: list[Delivery | None] = []
        self.steps_back: list[str] = []
        self.message: Message | None = None
        server.serve(self.gateway, self.tell)
        world.record(world.heard(), connection_id=self.connection_id)

    def tell(self, url: str | None, webhook: Webhook) -> bool:
        before = self.status()
        (item,) = items_of(self.gateway, webhook, url or self.url)
        self.world.record(item.event, connection_id=self.connection_id)
        self.told.append(getattr(item.event, "status", None))
        after = self.status()
        if after != "failed" and ORDER.index(after) < ORDER.index(before):
            self.steps_back.append(f"{before} → {after}")
        return True

    def queue(self) -> Message:
        self.told.clear()
        new = MessageToSend(connection_id=self.connection_id, to=DANA.phone, text=TEXT)
        self.message = self.outbox.send(self.world.business_id, new)
        return self.message

    def send(self) -> Message:
        message = self.queue()
        send_job.send_message(str(message.id), 1)
        return message

    def has_echo(self) -> bool:
        return self.gateway.provider in {ProviderName.WAHA, ProviderName.BAILEYS}

    def wait_until_all_is_told(self) -> None:
        many = sum(one.status is not None or self.has_echo() for one in self.server.course)
        wait_until(lambda: len(self.told) >= many, within_s=10, what="all is told")

    def status(self) -> str:
        if self.message is None:
            return "queued"
        return self.outbox.message(self.world.business_id, self.message.id).status or ""


@pytest.fixture
def server() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


@pytest.fixture
def line(
    world: World,
    server: FakeGateway,
    provider: ProviderName,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Line]:
    monkeypatch.setattr(SENDERS[provider], "pace", Pace(1000, 1000))
    with working_environment(world, TIMER_PUBLIC_URL="https://timer.example"):
        yield Line(world, server, provider)


def try_orders(line: Line, number: int) -> None:
    world, server = line.world, line.server

    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(steps, max_size=7))
    def run(course: list[Step]) -> None:
        server.course = course
        message = line.send()
        line.wait_until_all_is_told()
        world.sweeper.sweep_once()
        statuses = {one.status for one in course if one.status is not None}
        furthest = max(statuses - {Delivery.FAILED} | {Delivery.SENT}, key=ORDER.index)
        allowed = {furthest}
        if Delivery.FAILED in statuses:
            # A gateway that says it was delivered as well contradicts itself: either may hold.
            allowed = statuses if furthest is not Delivery.SENT else {Delivery.FAILED}
        assert line.status() in allowed
        assert line.steps_back == []
        named = world.read(
            "SELECT id FROM messages WHERE provider_message_id = :name", name=server.ids[-1]
        )
        assert [one["id"] for one in named] == [message.id]
        assert world.read("SELECT 1 FROM early_statuses") == []

    run()
    counted = world.session(line.message.session_id).message_count if line.message else 0
    assert counted == len(server.requests) + 1


@every_gateway
def test_in_whatever_order_they_come_the_furthest_holds(line: Line) -> None:
    try_orders(line, 10)


@pytest.mark.slow
@every_gateway
def test_in_many_orders(line: Line) -> None:
    try_orders(line, 500)


@every_gateway
def test_what_is_told_before_the_answer_holds_from_the_answer_on(line: Line) -> None:
    for status in (*STATUSES, Delivery.FAILED):
        line.server.course = [Step(status, None)]
        line.send()
        assert line.status() == status.value


@every_gateway
def test_what_is_told_of_a_message_nobody_was_answered_for_is_not_lost(line: Line) -> None:
    """Where our id comes back it tells at once, else with the echo, which the sweep finds."""
    line.server.will(takes_and_breaks())
    line.server.course = [Step(Delivery.DELIVERED, None), Step(None, None)]
    line.send()
    if line.has_echo():
        assert line.status() == "unknown"
        line.world.let_pass(30)
        line.world.sweeper.sweep_once()
        line.world.let_pass(30)
        line.world.sweeper.sweep_once()
    assert line.status() == "delivered"


@every_gateway
def test_who_sends_too_fast_waits_and_is_taken_later(line: Line) -> None:
    line.server.most_per_s = 1
    line.server.course = [Step(Delivery.READ)]
    line.send()
    refused = line.queue()
    retry = send_job.send_message(str(refused.id), 1)
    assert retry is not None
    assert line.status() == "sending"
    line.server.most_per_s = 5
    assert send_job.send_message(str(refused.id), 1) is None
    wait_until(lambda: line.status() == "read", what="it is read")
    assert len(line.server.requests) == 3


@every_gateway
def test_with_another_key_nothing_is_sent(line: Line) -> None:
    secrets = dict.fromkeys(line.gateway.secrets, "another")
    line.world.administration.change_connection(
        line.world.business_id, line.connection_id, {"secrets": secrets}
    )
    message = line.send()
    failed = line.outbox.message(line.world.business_id, message.id)
    assert (failed.status, failed.failure) == ("failed", "auth")


class TestWhatWaits:
    NAME = "3EB0"

    def tell(self, world: World, status: Delivery, **more: object) -> None:
        told = DeliveryStatus(provider_message_id=self.NAME, status=status, **more)  # type: ignore[arg-type]
        world.record(told)

    def test_of_several_the_furthest_waits_with_what_it_says(self, world: World) -> None:
        for status in (Delivery.SENT, Delivery.READ, Delivery.DELIVERED):
            self.tell(world, status)
        self.tell(world, Delivery.FAILED, error_code=131026, retryable=False)
        (kept,) = world.read("SELECT status, error_code FROM early_statuses")
        assert dict(kept) == {"status": "read", "error_code": None}

    def test_a_failure_keeps_its_code(self, world: World) -> None:
        self.tell(world, Delivery.FAILED, error_code=131026, retryable=False)
        world.say(id=self.NAME)
        assert world.sweeper.apply_early_changes_once() == 1
        (row,) = world.read("SELECT status, error_code, retryable FROM messages")
        assert dict(row) == {"status": "failed", "error_code": 131026, "retryable": False}

    def test_what_the_business_sent_by_itself_gets_it_with_the_next_sweep(
        self, world: World
    ) -> None:
        self.tell(world, Delivery.READ)
        world.say(id=self.NAME)
        world.sweeper.sweep_once()
        assert world.read("SELECT status FROM messages")[0]["status"] == "read"
        assert world.read("SELECT 1 FROM early_statuses") == []

    def test_a_customers_message_of_that_name_is_not_told(self, world: World) -> None:
        self.tell(world, Delivery.READ)
        world.hear(id=self.NAME)
        world.sweeper.sweep_once()
        assert world.read("SELECT status FROM messages")[0]["status"] is None

    def test_another_connections_message_is_another(self, world: World) -> None:
        other = world.add_connection("2000")
        self.tell(world, Delivery.READ)
        world.record(world.said(id=self.NAME), connection_id=other)
        world.sweeper.sweep_once()
        assert world.read("SELECT status FROM messages")[0]["status"] == "sent"

    def test_one_that_says_nothing_new_does_not_wait(self, world: World) -> None:
        world.say(id=self.NAME)
        for status in (Delivery.READ, Delivery.SENT):
            self.tell(world, status)
        assert world.read("SELECT 1 FROM early_statuses") == []

    def test_of_one_connection_so_many_wait_and_for_so_long(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(early_statuses, "MOST_OF_CONNECTION", 2)
        for name in ("a", "b", "c", "d"):
            world.record(DeliveryStatus(provider_message_id=name, status=Delivery.READ))
        world.run(
            "UPDATE early_statuses SET arrived_at = arrived_at - interval '61 min' "
            "WHERE target = 'd'"
        )
        world.eraser.erase_once()
        kept = world.read("SELECT target FROM early_statuses ORDER BY target")
        assert [one["target"] for one in kept] == ["b", "c"]

    def test_they_go_with_their_business(self, world: World) -> None:
        self.tell(world, Delivery.READ)
        world.administration.erase_business(world.business_id)
        assert world.read("SELECT 1 FROM early_statuses") == []

    def test_status_and_answer_at_the_same_instant_find_each_other(self, world: World) -> None:
        queued = [world.say(id=f"own-{number}") for number in range(24)]
        rows = world.read(
            "SELECT id FROM messages WHERE direction = 'out' ORDER BY received_at, id"
        )
        assert len(rows) == len(queued)
        world.run(
            "INSERT INTO sends (message_id, business_id, recipient, is_running) "
            "SELECT id, business_id, '972500000001', true FROM messages"
        )
        world.run("UPDATE messages SET status = 'sending', provider_message_id = id::text")
        barrier = Barrier(8)

        def act(number: int) -> None:
            barrier.wait()
            for row in rows[number // 2 :: 4]:
                if number % 2:
                    name = f"3EB0{row['id']}"
                    world.record(DeliveryStatus(provider_message_id=name, status=Delivery.READ))
                else:
                    with world.database.transaction() as db:
                        sends.accept(db, row["id"], 1, f"3EB0{row['id']}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(act, range(8)))
        assert {one["status"] for one in world.read("SELECT status FROM messages")} == {"read"}
        assert world.read("SELECT 1 FROM early_statuses") == []
