"""An edit, a revocation or a reaction that comes before its message is kept until it is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from tests.support.builders import World
from timer_service.clock import utc_now
from timer_service.messages import ChangeKind, Direction, MessageChange
from timer_service.records import early_changes


def change(kind: ChangeKind, text: str = "", *, target: str = "m", **more: Any) -> MessageChange:
    more = {"direction": Direction.IN} | more
    return MessageChange(kind=kind, target=target, text=text, **more)


def message(world: World, name: str = "m") -> Any:
    (row,) = world.read("SELECT * FROM messages WHERE provider_message_id = :name", name=name)
    return row


def waiting(world: World) -> int:
    return len(world.read("SELECT 1 FROM early_changes"))


def test_an_edit_that_overtook_its_message_is_applied_once_it_is_there(world: World) -> None:
    world.record(change(ChangeKind.EDIT, "two, please"))
    assert world.sweeper.sweep_once()["early_changes"] == 0
    session = world.hear("three, please", id="m")
    deadline_at = world.session(session.session_id).deadline_at
    assert world.sweeper.sweep_once()["early_changes"] == 1
    assert (message(world)["text"], message(world)["edited_at"] is None) == ("two, please", False)
    assert world.session(session.session_id).deadline_at == deadline_at
    assert world.sweeper.sweep_once()["early_changes"] == waiting(world) == 0


def test_a_revocation_takes_the_text_and_an_edit_beside_it_says_no_more(world: World) -> None:
    world.record(change(ChangeKind.REVOKE))
    world.record(change(ChangeKind.EDIT, "never mind"))
    world.hear("a secret", id="m")
    world.sweeper.sweep_once()
    assert (message(world)["text"], message(world)["revoked_at"] is None) == ("", False)


def test_reactions_of_both_sides_are_kept(world: World) -> None:
    world.record(
        change(ChangeKind.REACTION, "👍"),
        change(ChangeKind.REACTION, "🙏", direction=Direction.OUT),
    )
    world.hear(id="m")
    world.sweeper.sweep_once()
    assert message(world)["reactions"] == {"in": "👍", "out": "🙏"}


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_edits_the_one_sent_later_counts_whichever_came_first(
    world: World, turned: bool
) -> None:
    now = utc_now()
    edits = [
        change(ChangeKind.EDIT, "first", at=now - timedelta(seconds=2)),
        change(ChangeKind.EDIT, "second", at=now),
    ]
    for one in edits[::-1] if turned else edits:
        world.record(one)
    world.hear("written", id="m")
    world.sweeper.sweep_once()
    assert message(world)["text"] == "second"


def test_an_edit_from_the_other_side_changes_nothing(world: World) -> None:
    world.record(change(ChangeKind.EDIT, "forged", direction=Direction.OUT))
    world.hear("mine", id="m")
    world.sweeper.sweep_once()
    assert (message(world)["text"], waiting(world)) == ("mine", 0)


def test_a_change_of_a_message_that_is_there_is_not_kept(world: World) -> None:
    world.hear("two", id="m")
    world.record(change(ChangeKind.EDIT, "two"), change(ChangeKind.EDIT, "three"))
    assert (message(world)["text"], waiting(world)) == ("three", 0)


def test_another_connections_message_of_that_name_is_another(world: World) -> None:
    other = world.add_connection("2000")
    world.record(change(ChangeKind.EDIT, "changed"))
    world.record(world.heard("as it was", id="m"), connection_id=other)
    world.sweeper.sweep_once()
    assert (message(world)["text"], waiting(world)) == ("as it was", 1)


def test_message_and_change_at_the_same_instant_find_each_other(world: World) -> None:
    names = [f"m{number}" for number in range(24)]
    barrier = Barrier(8)

    def deliver(number: int) -> None:
        barrier.wait()
        for name in names[number // 2 :: 4]:
            if number % 2:
                world.record(change(ChangeKind.EDIT, f"edited {name}", target=name))
            else:
                world.hear("written", id=name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(deliver, range(8)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: world.make_sweeper().sweep_once(), range(2)))
    assert [message(world, name)["text"] for name in names] == [f"edited {one}" for one in names]
    assert waiting(world) == 0


def test_more_than_a_page_is_looked_at_in_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_service.sweeper.PAGE", 2)
    for number in range(5):
        world.record(change(ChangeKind.EDIT, "edited", target=f"m{number}"))
    world.hear("written", id="m4")
    swept = [world.sweeper.apply_early_changes_once() for _ in range(3)]
    assert swept == [0, 0, 1]
    world.hear("written", id="m0")
    assert world.sweeper.apply_early_changes_once() == 1


class TestBounds:
    def test_of_one_connection_the_oldest_go(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(early_changes, "MOST_OF_CONNECTION", 3)
        other = world.add_connection("2000")
        world.record(change(ChangeKind.REVOKE, target="others"), connection_id=other)
        for number in range(5):
            world.record(change(ChangeKind.REVOKE, target=f"m{number}"))
        kept = world.read("SELECT target FROM early_changes ORDER BY arrived_at")
        assert [one["target"] for one in kept] == ["others", "m2", "m3", "m4"]

    def test_what_waited_a_day_in_vain_is_deleted(self, world: World) -> None:
        world.record(change(ChangeKind.EDIT, "of long ago", target="old"))
        world.run("UPDATE early_changes SET arrived_at = arrived_at - interval '25 h'")
        world.record(change(ChangeKind.EDIT, "of now", target="new"))
        world.eraser.erase_once()
        assert [row["target"] for row in world.read("SELECT target FROM early_changes")] == ["new"]

    def test_they_go_with_their_business(self, world: World) -> None:
        world.record(change(ChangeKind.EDIT, "what was written"))
        world.administration.erase_business(world.business_id)
        assert waiting(world) == 0
