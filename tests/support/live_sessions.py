"""Looks into what Redis holds of live sessions, past the service's own reading of it."""

from __future__ import annotations

from redis import Redis

from timer_service import keys
from timer_service.ids import BusinessId, SessionId, new_id, shorten
from timer_service.keys import Member
from timer_service.live_chats import Arm, LiveChats

SHARD = 0


def new_member(business_id: BusinessId | None = None) -> Member:
    return Member(business_id or BusinessId(new_id()), SessionId(new_id()))


def arm_of(member: Member, *, version: int = 1, remaining_ms: float = 60_000) -> Arm:
    return Arm(member.business_id, member.session_id, version, remaining_ms)


def trust(live_chats: LiveChats) -> None:
    for shard in range(live_chats.shards):
        live_chats.begin_rebuild(shard, "made-by-a-test")
        assert live_chats.finish_rebuild(shard, "made-by-a-test")


class Held:
    """What Redis holds of one session, read anew with each question; one shard."""

    def __init__(self, client: Redis, member: Member) -> None:
        self._client = client
        self._member = member
        self.live_key = keys.live_key(SHARD, member.business_id, member.session_id)
        self.active_key = keys.active_key(SHARD, member.business_id)
        self.short_business = shorten(member.business_id)
        self.short_session = shorten(member.session_id)

    @property
    def version(self) -> str | None:
        return self._client.get(self.live_key)

    @property
    def ends_at_ms(self) -> int:
        return self._client.pexpiretime(self.live_key)

    @property
    def deadline_ms(self) -> float | None:
        return self._client.zscore(self.active_key, self.short_session)

    @property
    def lease_end_ms(self) -> float | None:
        return self._client.zscore(keys.claimed_key(SHARD), keys.member_text(self._member))

    @property
    def next_look_ms(self) -> float | None:
        return self._client.zscore(keys.agenda_key(SHARD), self.short_business)

    def make_due(self, *, late_ms: int = 1) -> int:
        """Let the session have fallen due ``late_ms`` ago and its key be gone; return the time."""
        deadline_ms = redis_now_ms(self._client) - late_ms
        self._client.delete(self.live_key)
        self.put_into_index(deadline_ms)
        return deadline_ms

    def put_into_index(self, deadline_ms: int) -> None:
        self._client.zadd(self.active_key, {self.short_session: deadline_ms})
        self._client.zadd(keys.agenda_key(SHARD), {self.short_business: deadline_ms}, lt=True)


def redis_now_ms(client: Redis) -> int:
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def everything(client: Redis) -> dict[str, object]:
    """Return all keys with their values and scores, to compare one state with another."""
    found: dict[str, object] = {}
    for key in sorted(client.keys("*")):
        kind = client.type(key)
        if kind == "zset":
            found[key] = client.zrange(key, 0, -1, withscores=True)
        elif kind == "hash":
            found[key] = client.hgetall(key)
        else:
            found[key] = (client.get(key), client.pexpiretime(key))
    return found
