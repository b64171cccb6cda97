"""What a connection's events and messages tell of its state."""

from __future__ import annotations

import pytest

from tests.support.builders import World
from timer_service.messages import ConnectionState, ConnectionUpdate


def state_of(world: World) -> str:
    (row,) = world.read("SELECT status FROM connections WHERE id = :id", id=world.connection_id)
    return str(row["status"])


def test_a_connection_that_brings_messages_is_connected(world: World) -> None:
    assert state_of(world) == ConnectionState.NEW

    world.hear("hello")

    assert state_of(world) == ConnectionState.CONNECTED


@pytest.mark.parametrize("told", [one for one in ConnectionState if one != ConnectionState.NEW])
def test_what_the_gateway_said_stands_whatever_messages_come(
    world: World, told: ConnectionState
) -> None:
    world.record(ConnectionUpdate(state=told))

    world.hear("a message that was under way")

    assert state_of(world) == told


def test_a_gateway_tells_the_connections_own_number(world: World) -> None:
    world.record(ConnectionUpdate(state=ConnectionState.CONNECTED, own_number="972500000009"))
    world.record(ConnectionUpdate(state=ConnectionState.CONNECTING))

    (row,) = world.read(
        "SELECT status, own_number FROM connections WHERE id = :id", id=world.connection_id
    )
    assert (row["status"], row["own_number"]) == ("connecting", "972500000009")
