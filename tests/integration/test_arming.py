"""Arming what was closed a moment ago: the count must not bring it back."""

from __future__ import annotations

import pytest

from tests.support.builders import World
from timer_service.live_chats import Arm, ArmOutcome, LiveChats


def test_a_session_completed_before_its_touch_is_armed_is_not_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = world.hear("is the blue one in stock?")
    arm = LiveChats.arm

    def complete_first(self: LiveChats, arms: list[Arm], *rest: object) -> object:
        if arms:
            monkeypatch.setattr(LiveChats, "arm", arm)
            world.completion.complete(world.business_id, opened.session_id)
        return arm(self, arms, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveChats, "arm", complete_first)
    touched = world.hear("and the red one?")

    assert touched.session_id == opened.session_id
    assert world.session(opened.session_id).close_reason == "completed"
    assert world.counted_by_redis() == world.counted() == 0


def test_a_touched_session_that_redis_lost_is_counted_again(world: World) -> None:
    opened = world.hear("is the blue one in stock?")
    world.live_chats.forget([world.member(opened.session_id)])

    world.hear("and the red one?")

    assert world.counted_by_redis() == 1


def test_an_ordinary_touch_asks_postgres_nothing_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.hear("is the blue one in stock?")
    outcomes: list[ArmOutcome] = []
    arm = LiveChats.arm

    def note(self: LiveChats, arms: list[Arm], *rest: object) -> list[ArmOutcome]:
        found = arm(self, arms, *rest)  # type: ignore[arg-type]
        outcomes.extend(found)
        return found

    monkeypatch.setattr(LiveChats, "arm", note)
    world.hear("and the red one?")

    assert outcomes == [ArmOutcome.ARMED]
