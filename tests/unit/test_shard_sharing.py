from __future__ import annotations

import pytest

from timer_service.errors import RedisUnavailable
from timer_service.live_chats import LiveChats
from timer_service.shard_sharing import ShardSharing, first_listener

SHARDS = 64


class MeetingPlace(LiveChats):
    """A Redis that knows who meets there, or is away."""

    def __init__(self) -> None:
        self.shards = SHARDS
        self.present: set[str] = set()
        self.is_away = False

    def meet(self, listener: str, alive_ms: int) -> list[str]:
        if self.is_away:
            raise RedisUnavailable("away")
        self.present.add(listener)
        return sorted(self.present)

    def leave(self, listener: str) -> None:
        self.present.discard(listener)


def test_alone_a_listener_has_every_shard() -> None:
    one = ShardSharing(MeetingPlace())
    assert one.others_shards == frozenset()
    one.meet()
    assert one.others_shards == frozenset()


def test_each_shard_is_of_exactly_one_listener_and_each_has_some() -> None:
    place = MeetingPlace()
    all_of_them = [ShardSharing(place) for _ in range(4)]
    for _ in range(2):
        for one in all_of_them:
            one.meet()
    shares = [set(range(SHARDS)) - one.others_shards for one in all_of_them]
    assert sum(len(share) for share in shares) == SHARDS
    assert set().union(*shares) == set(range(SHARDS))
    assert min(len(share) for share in shares) > 0


def test_who_leaves_moves_only_its_own_shards() -> None:
    three = ["a", "b", "c"]
    before = {shard: first_listener(shard, three) for shard in range(SHARDS)}
    after = {shard: first_listener(shard, ["a", "b"]) for shard in range(SHARDS)}
    assert all(before[shard] in {after[shard], "c"} for shard in range(SHARDS))


def test_who_hears_nothing_of_the_others_looks_after_everything() -> None:
    place = MeetingPlace()
    one, other = ShardSharing(place), ShardSharing(place)
    for _ in range(2):
        one.meet()
        other.meet()
    assert one.others_shards
    place.is_away = True
    with pytest.raises(RedisUnavailable):
        one.meet()
    assert one.others_shards == frozenset()
    place.is_away = False
    one.meet()
    assert one.others_shards
    other.leave()
    one.meet()
    assert one.others_shards == frozenset()
