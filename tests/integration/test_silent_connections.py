"""A gateway of which nothing was heard for long is asked; few at one time, none for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.builders import World, work_off, working_environment
from tests.support.fake_control_gateway import FakeControlGateway
from tests.support.fake_model import Reply
from timer_service.ids import ConnectionId
from timer_service.job_queue import SENDS_QUEUE
from timer_service.messages import ConnectionState, ConnectionUpdate, ProviderName
from timer_service.sweeper import MOST_ASKED

LINKED = ConnectionUpdate(state=ConnectionState.CONNECTED)


@pytest.fixture
def gateway(world: World) -> Iterator[FakeControlGateway]:
    with FakeControlGateway() as gateway, working_environment(world):
        yield gateway


def linked(world: World, gateway: FakeControlGateway, name: str = "default") -> ConnectionId:
    """Link a device, of which its gateway told a moment ago."""
    connection_id = world.add_connection(name, ProviderName.WAHA)
    values = {"base_url": gateway.url, "secrets": {"api_key": gateway.api.key}}
    world.administration.change_connection(world.business_id, connection_id, values)
    gateway.api.add(name, "working")
    world.record(LINKED, connection_id=connection_id)
    return connection_id


def let_be_silent(world: World, minutes: int) -> None:
    world.run(f"UPDATE connections SET ask_at = ask_at - interval '{minutes} min'")


def sweep_and_work(world: World) -> int:
    asked = world.sweeper.sweep_once()["silent_connections"]
    work_off(world, SENDS_QUEUE)
    return asked


def state_of(world: World, connection_id: ConnectionId) -> tuple[str, str | None]:
    found = world.administration.connection(world.business_id, connection_id)
    return found.status, found.status_reason_code


def test_one_that_was_silent_for_long_is_asked_and_the_answer_stored(
    world: World, gateway: FakeControlGateway
) -> None:
    connection_id = linked(world, gateway)
    gateway.api.drop("default", 440)
    let_be_silent(world, 9)
    assert sweep_and_work(world) == 0
    assert gateway.asked == []
    let_be_silent(world, 2)
    assert sweep_and_work(world) == 1
    assert gateway.asked == ["GET /api/sessions/default"]
    assert state_of(world, connection_id) == ("failed", "link_failed")
    assert sweep_and_work(world) == 0


def test_one_about_to_be_linked_is_asked_soon(world: World, gateway: FakeControlGateway) -> None:
    connection_id = linked(world, gateway)
    waits = ConnectionUpdate(state=ConnectionState.WAITING_QR)
    world.record(waits, connection_id=connection_id)
    let_be_silent(world, 2)
    assert sweep_and_work(world) == 1
    assert state_of(world, connection_id) == ("connected", None)


def test_a_gateway_that_does_not_tell_leaves_what_was_told_and_is_asked_again(
    world: World, gateway: FakeControlGateway
) -> None:
    connection_id = linked(world, gateway)
    gateway.will(Reply(500, b"{}"))
    let_be_silent(world, 11)
    assert sweep_and_work(world) == 1
    assert state_of(world, connection_id) == ("connected", "gateway_fault")
    let_be_silent(world, 6)
    assert sweep_and_work(world) == 1
    assert state_of(world, connection_id) == ("connected", None)


def test_a_job_that_is_lost_is_made_again_some_minutes_later(
    world: World, gateway: FakeControlGateway
) -> None:
    linked(world, gateway)
    let_be_silent(world, 11)
    world.sweeper.sweep_once()
    world.queue_redis.flushdb()
    assert sweep_and_work(world) == 0
    let_be_silent(world, 6)
    assert sweep_and_work(world) == 1
    assert len(gateway.asked) == 1


def test_whom_we_have_no_key_for_or_is_gone_is_left_alone(
    world: World, gateway: FakeControlGateway
) -> None:
    keyless = world.add_connection("keyless", ProviderName.WAHA)
    values = {"base_url": gateway.url}
    world.administration.change_connection(world.business_id, keyless, values)
    world.record(LINKED, connection_id=keyless)
    world.record(LINKED)  # Meta's: there is nobody to ask
    let_be_silent(world, 11)
    assert sweep_and_work(world) == 2
    assert gateway.asked == []
    assert state_of(world, keyless) == ("connected", None)
    deleted = linked(world, gateway)
    world.administration.delete_connection(world.business_id, deleted)
    removed = linked(world, gateway, "removed")
    world.record(ConnectionUpdate(state=ConnectionState.REMOVED), connection_id=removed)
    let_be_silent(world, 1000)
    assert sweep_and_work(world) == 0
    (row,) = world.read("SELECT count(*) AS many FROM connections WHERE ask_at IS NOT NULL")
    assert row["many"] == 0


def test_few_are_asked_after_one_sweep(world: World, gateway: FakeControlGateway) -> None:
    for nth in range(MOST_ASKED + 5):
        linked(world, gateway, f"device {nth}")
    let_be_silent(world, 11)
    assert sweep_and_work(world) == MOST_ASKED
    assert sweep_and_work(world) == 5
    assert len(set(gateway.asked)) == MOST_ASKED + 5
