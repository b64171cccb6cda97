"""Holds each script's head, its body and its caller together: the head is what people read."""

from __future__ import annotations

import re
from enum import IntEnum
from importlib.resources import files
from typing import Any, Self
from unittest.mock import ANY, MagicMock

import pytest

from timer_service import lua_scripts
from timer_service.ids import BusinessId, ConnectionId, SessionId, new_id, shorten
from timer_service.job_queue import JobQueue, SummaryJob
from timer_service.keys import Member
from timer_service.live_chats import (
    Arm,
    ArmOutcome,
    ClaimResult,
    CountResult,
    FinishResult,
    LiveChats,
)
from timer_service.lua_scripts import Script
from timer_service.providers.sending import Pace
from timer_service.send_pace import SendPace
from timer_service.spool_announcements import SpoolAnnouncements

SCRIPTS = [value for value in vars(lua_scripts).values() if isinstance(value, Script)]
MEMBER = Member(BusinessId(new_id()), SessionId(new_id()))
JOB = SummaryJob(MEMBER.session_id, 1)
CONNECTION = ConnectionId(new_id())

CODES: dict[str, type[IntEnum]] = {
    "arm": ArmOutcome,
    "claim": ClaimResult,
    "count": CountResult,
    "finish_rebuild": FinishResult,
}


class CallRecorder:
    """A client that notes calls, piped or not, and answers something each caller can read."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[list[str], list[Any]]] = {}
        self.replies: list[Any] = []

    def pipeline(self, *, transaction: bool) -> Self:
        assert transaction is False
        self.replies = []
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def evalsha(self, sha: str, number: int, *rest: Any) -> Any:
        (script,) = (one for one in SCRIPTS if one.sha == sha)
        self.calls[script.name] = (list(rest[:number]), list(rest[number:]))
        answers = {
            "arm": [1],
            "claim": [[-1]],
            "forget": [0],
            "count": [-1],
            "pace": [1, 2, 3, 4, 0],
            "meet": [],
        }
        self.replies.append(answers.get(script.name, 0))
        return self.replies[-1]

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert raise_on_error is False
        replies, self.replies = self.replies, []
        return replies


@pytest.fixture
def recorded() -> dict[str, tuple[list[str], list[Any]]]:
    recorder = CallRecorder()
    live_chats = LiveChats(recorder, shards=1)
    live_chats.arm([Arm(*MEMBER, version=3, remaining_ms=1000)], token="t", at_ms={0: 5})
    live_chats.forget([MEMBER])
    live_chats.claim([MEMBER], 10_000)
    live_chats.list_active(MEMBER.business_id, 50)
    live_chats.pace([0], grace_ms=250, lease_ms=10_000, limit=100)
    live_chats.begin_rebuild(0, "t")
    live_chats.finish_rebuild(0, "t")
    live_chats.meet("somebody", 600)
    JobQueue(recorder).enqueue([JOB])
    SendPace(recorder).take_turn(CONNECTION, Pace(per_s=4, burst=3))
    SpoolAnnouncements(MagicMock(), recorder).withdraw("7f", "2026-11-22T03:00Z")
    return recorder.calls


def head_of(script: Script) -> str:
    lines = script.source.splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))])


def parts_of(script: Script, kind: str) -> list[str]:
    found = re.findall(rf"^-- {kind}\[(\d+)\] (\S+)", head_of(script), re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [name for _, name in found]


def test_every_script_file_is_loaded() -> None:
    there = {one.name for one in (files("timer_service") / "lua").iterdir()}
    assert there == {f"{script.name}.lua" for script in SCRIPTS}
    loaded = {one for one in vars(lua_scripts).values() if isinstance(one, lua_scripts.Script)}
    assert set(SCRIPTS) == loaded


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
class TestHead:
    def test_it_states_each_key_as_it_is_passed(
        self, script: Script, recorded: dict[str, tuple[list[str], list[Any]]]
    ) -> None:
        passed, _ = recorded[script.name]
        stated = [
            pattern.replace("{shard}", "{0}")
            .replace("<business>", shorten(MEMBER.business_id))
            .replace("<name>", JOB.queue)
            .replace("<connection>", shorten(CONNECTION))
            .replace("<spool>", "7f")
            for pattern in parts_of(script, "KEYS")
        ]
        assert stated == passed

    def test_it_states_each_argument_as_it_is_passed(
        self, script: Script, recorded: dict[str, tuple[list[str], list[Any]]]
    ) -> None:
        _, passed = recorded[script.name]
        known = {
            "business": shorten(MEMBER.business_id),
            "session": shorten(MEMBER.session_id),
            "version": 3,
            "remaining_ms": 1000,
            "token": "t",
            "at_ms": 5,
            "lease_ms": 10_000,
            "grace_ms": 250,
            "limit": 50 if script.name == "count" else 100,
            "active_prefix": "ts:{0}:active:",
            "live_prefix": "ts:{0}:live:",
            "job_prefix": "rq:job:",
            "job_id": JOB.job_id,
            "fields": ANY,
            "data": ANY,
            "listener": "somebody",
            "alive_ms": 600,
            "interval_ms": 250,
            "burst": 3,
            "said": "2026-11-22T03:00Z",
            "spool": "7f",
        }
        assert [known[name] for name in parts_of(script, "ARGV")] == passed

    def test_the_body_uses_exactly_what_the_head_states(self, script: Script) -> None:
        body = script.source.removeprefix(head_of(script))
        for kind in ("KEYS", "ARGV"):
            used = {int(number) for number in re.findall(rf"{kind}\[(\d+)\]", body)}
            assert used == set(range(1, len(parts_of(script, kind)) + 1))

    def test_it_states_every_code_by_its_name_in_the_enum(self, script: Script) -> None:
        returns = head_of(script).partition("-- Returns")[2]
        stated = {
            name: int(code)
            for code, name in re.findall(r"^--  {1,3}(-?\d+) (\w+)", returns, re.MULTILINE)
        }
        codes = CODES.get(script.name)
        assert stated == ({one.name.lower(): one.value for one in codes} if codes else {})

    def test_it_scans_nothing(self, script: Script) -> None:
        body = script.source.removeprefix(head_of(script))
        assert not re.findall(r"'(KEYS|H?SCAN|SSCAN|ZSCAN|SMEMBERS)'", body)

    def test_a_script_that_writes_asks_redis_6_to_replicate_its_effects(
        self, script: Script
    ) -> None:
        body = script.source.removeprefix(head_of(script))
        unforeseeable = re.search(r"redis\.call\('(TIME|INFO)'", body)
        write = re.search(r"redis\.call\('(SET|ZADD|ZREM|DEL|UNLINK)'", body)
        asks = body.find("redis.replicate_commands()")
        if unforeseeable and write:
            assert 0 < asks < unforeseeable.start()
        else:
            assert asks == -1
