"""The cluster client against servers that answer what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import pytest
from redis.exceptions import AskError, MovedError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from timer_service import redis_cluster
from timer_service.redis_cluster import SLOTS, ClusterClient, Command, slot_of
from timer_service.redis_urls import Address

A, B = ("a", 1), ("b", 2)
KEY_AT_A, KEY_AT_B = "{2}", "{0}"
HALVES = [[0, 8191, ["a", 1, "id-a"]], [8192, SLOTS - 1, ["b", 2, "id-b"]]]
assert slot_of(KEY_AT_A) < 8192 <= slot_of(KEY_AT_B)


class Server:
    """One server as redis-py's client shows it; ``answers`` may hold faults to raise."""

    def __init__(self, told: Callable[[], Any]) -> None:
        self._told = told
        self._piped: list[tuple[Any, ...]] = []
        self.heard: list[tuple[Any, ...]] = []
        self.answers: list[Any] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def execute_command(self, *command: Any) -> Any:
        if self in _PIPING:
            self._piped.append(command)
            return None
        if command == ("CLUSTER", "SLOTS"):
            answer = self._told()
        else:
            self.heard.append(command)
            self.meanwhile()
            answer = self.answers.pop(0) if self.answers else "done"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, *, transaction: bool) -> Self:
        assert not transaction
        _PIPING.append(self)
        self._piped = []
        return self

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        self.heard += self._piped
        answers = [self.answers.pop(0) if self.answers else "done" for _ in self._piped]
        if any(isinstance(one, (RedisConnectionError, RedisTimeoutError)) for one in answers):
            raise next(one for one in answers if isinstance(one, Exception))
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        _PIPING.remove(self)


_PIPING: list[Server] = []


class Cluster:
    """Two servers, and the clock the client reads."""

    def __init__(self) -> None:
        self.told: Any = HALVES
        self.asked = 0
        self.servers = {A: Server(self._tell), B: Server(self._tell)}
        self.now_s = 1000.0
        self.client = ClusterClient([A, B], self._make, give_up_s=0.2)

    def run(self, *keys: str) -> Sequence[Any]:
        return self.client.run([Command(key, ("GET", key)) for key in keys])

    def _tell(self) -> Any:
        self.asked += 1
        return self.told

    def _make(self, address: Address) -> Any:
        return self.servers[address]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(redis_cluster, "monotonic_s", lambda: cluster.now_s)
    return cluster


def test_each_command_goes_to_its_slots_server_and_answers_keep_their_order(
    cluster: Cluster,
) -> None:
    cluster.servers[A].answers = [1, 3]
    cluster.servers[B].answers = [2]
    assert cluster.run(KEY_AT_A, KEY_AT_B, KEY_AT_A) == [1, 2, 3]
    assert cluster.asked == 1, "asked when it is needed, and once"


def test_a_slot_that_moved_is_followed_and_remembered(cluster: Cluster) -> None:
    cluster.run(KEY_AT_A)
    changes = cluster.client.changes
    cluster.servers[A].answers = [MovedError(f"{slot_of(KEY_AT_A)} b:2")]
    assert cluster.run(KEY_AT_A) == ["done"]
    assert cluster.client.owner_of(KEY_AT_A) == B
    assert cluster.client.changes > changes
    heard = len(cluster.servers[A].heard)
    cluster.run(KEY_AT_A)
    assert len(cluster.servers[A].heard) == heard


def test_an_empty_host_is_the_one_that_was_asked(cluster: Cluster) -> None:
    cluster.told = [[0, SLOTS - 1, ["", 1, "id-a"]]]
    cluster.servers[A].answers = ["done"]
    cluster.client = ClusterClient([A], cluster._make, give_up_s=0.2)
    assert cluster.run(KEY_AT_A) == ["done"]
    assert cluster.client.owner_of(KEY_AT_B) == A


def test_a_key_on_the_move_is_asked_for_at_its_next_place_once(cluster: Cluster) -> None:
    cluster.run(KEY_AT_A)
    cluster.servers[A].answers = [AskError(f"{slot_of(KEY_AT_A)} b:2")]
    cluster.servers[B].answers = ["OK", "there"]
    assert cluster.run(KEY_AT_A) == ["there"]
    assert cluster.servers[B].heard == [("ASKING",), ("GET", KEY_AT_A)]
    assert cluster.client.owner_of(KEY_AT_A) == A


def test_a_redirection_is_followed_no_further(cluster: Cluster) -> None:
    moved = [MovedError(f"{slot_of(KEY_AT_A)} b:2"), MovedError(f"{slot_of(KEY_AT_A)} a:1")]
    cluster.servers[A].answers, cluster.servers[B].answers = moved[:1], moved[1:]
    assert cluster.run(KEY_AT_A) == moved[1:]


def test_a_refusal_stands_in_its_answers_place(cluster: Cluster) -> None:
    refused = TryAgainError("not now")
    cluster.servers[A].answers = [refused, "done"]
    assert cluster.run(KEY_AT_A, KEY_AT_A, KEY_AT_B) == [refused, "done", "done"]


def test_one_servers_absence_fails_its_own_part_and_makes_the_client_look_again(
    cluster: Cluster,
) -> None:
    away = RedisConnectionError("away")
    cluster.servers[A].answers = [away]
    assert cluster.run(KEY_AT_A, KEY_AT_B) == [away, "done"]
    assert cluster.asked == 1
    cluster.now_s += 0.05
    cluster.run(KEY_AT_B)
    assert cluster.asked == 1, "not so soon"
    cluster.now_s += 0.1
    cluster.told = [[0, SLOTS - 1, ["b", 2, "id-b"]]]
    assert cluster.run(KEY_AT_A) == ["done"]
    assert cluster.asked == 2
    assert cluster.client.owner_of(KEY_AT_A) == B
    assert cluster.client.primaries == (B,)


def test_a_silent_server_is_left_alone_and_then_tried_by_one(cluster: Cluster) -> None:
    cluster.servers[A].answers = [RedisTimeoutError("silent")] * 2
    for expected in (1, 1):
        assert isinstance(cluster.run(KEY_AT_A)[0], Exception)
        assert len(cluster.servers[A].heard) == expected
    cluster.now_s += redis_cluster.SILENT_FOR_S
    for expected in (2, 2):
        assert isinstance(cluster.run(KEY_AT_A)[0], Exception)
        assert len(cluster.servers[A].heard) == expected
    cluster.now_s += redis_cluster.SILENT_FOR_S
    assert cluster.run(KEY_AT_A) == ["done"]
    assert cluster.run(KEY_AT_A) == ["done"]


def test_while_one_tries_a_silent_server_the_others_do_not(cluster: Cluster) -> None:
    silent = cluster.servers[A]
    silent.answers = [RedisTimeoutError("silent")]
    cluster.run(KEY_AT_A)
    cluster.now_s += redis_cluster.SILENT_FOR_S
    others: list[Any] = []

    def another_calls() -> None:
        silent.meanwhile = lambda: None
        others.extend(cluster.run(KEY_AT_A))

    silent.meanwhile = another_calls
    assert cluster.run(KEY_AT_A) == ["done"]
    assert isinstance(others[0], RedisConnectionError)


def test_where_nobody_tells_the_slots_the_next_caller_need_not_wait_for_it_again(
    cluster: Cluster,
) -> None:
    cluster.told = RedisTimeoutError("silent")
    with pytest.raises(RedisConnectionError):
        cluster.run(KEY_AT_A)
    asked = cluster.asked
    with pytest.raises(RedisConnectionError):
        cluster.run(KEY_AT_A)
    assert cluster.asked == asked
    cluster.now_s += max(redis_cluster.LOOK_AGAIN_AFTER_S, redis_cluster.SILENT_FOR_S)
    cluster.told = HALVES
    assert cluster.run(KEY_AT_A) == ["done"]


def test_a_slot_nobody_holds_fails_alone(cluster: Cluster) -> None:
    cluster.told = HALVES[:1]
    found = cluster.run(KEY_AT_A, KEY_AT_B)
    assert found[0] == "done"
    assert isinstance(found[1], RedisConnectionError)


def test_a_tag_is_found_for_each_server(cluster: Cluster) -> None:
    cluster.client.look()
    for address in (A, B):
        tag = cluster.client.tag_at(address)
        assert cluster.client.owner_of(f"ts:canary:{{{tag}}}:x") == address
    assert cluster.client.tag_at(("c", 3)) is None
