"""Ours: `LiveChats.arm` for each reset; pacer, expired events and claims in a real listener.

Its closer stamps and settles the claim, and closes nothing in Postgres: so that all engines do the
same work.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from threading import Event
from uuid import UUID

from benchmarks.peers.engine import BATCH, Engine, redis_url
from benchmarks.peers.timers import Stamper
from benchmarks.rig import Rig
from timer_service import keys
from timer_service.clock import epoch_s
from timer_service.expiry_listener import ExpiryListener
from timer_service.ids import BusinessId, SessionId, new_id
from timer_service.keys import Member
from timer_service.live_chats import Arm, LiveChats
from timer_service.primaries import OneServer
from timer_service.redis_clients import pubsub_client, worker_client

_BUSINESSES = 100
_SHARD = 0
_NUMBER_BITS = 32


class OurLiveChats(Engine):
    """The service's own engine, without Postgres behind it."""

    label = "timer-service"
    survives = True
    note = "LiveChats.arm; pacer, events and claims in a listener; without Postgres here"

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._client = worker_client(rig.redis_url)
        self._live_chats = LiveChats(self._client, 1)
        self._live_chats.begin_rebuild(_SHARD, "bench")
        self._live_chats.finish_rebuild(_SHARD, "bench")
        self._businesses = [BusinessId(new_id()) for _ in range(_BUSINESSES)]
        self._base = (new_id().int >> _NUMBER_BITS) << _NUMBER_BITS
        self._members: dict[int, Member] = {}
        self._versions: dict[int, int] = {}
        channel = keys.expired_channel(0)
        rig.start(
            "handler",
            (sys.executable, "-m", __name__),
            ready=lambda: bool(self._client.pubsub_channels(channel)),
        )

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Arm sessions, many in a round trip."""
        for number in deadlines:
            business = self._businesses[number % _BUSINESSES]
            self._members[number] = Member(business, SessionId(UUID(int=self._base | number)))
            self._versions[number] = 0
        items = list(deadlines.items())
        for start in range(0, len(items), BATCH):
            now_s = epoch_s()
            some = items[start : start + BATCH]
            self._live_chats.arm([self._arm(number, at_s - now_s) for number, at_s in some])

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Arm the sessions again, by their rows' next version."""
        self._live_chats.arm([self._arm(number, in_s) for number in numbers])

    def held(self, asked: Mapping[int, float]) -> Mapping[int, float]:
        """Read when the live keys end: arming counts from when the script runs."""
        numbers = list(asked)
        with self._client.pipeline(transaction=False) as pipe:
            for number in numbers:
                pipe.pexpiretime(keys.live_key(_SHARD, *self._members[number]))
            ends_ms = pipe.execute()
        return {number: end / 1000 for number, end in zip(numbers, ends_ms, strict=True)}

    def _arm(self, number: int, in_s: float) -> Arm:
        self._versions[number] += 1
        return Arm(*self._members[number], self._versions[number], max(1, round(in_s * 1000)))


class _StampingCloser:
    """Stamps what was claimed, then settles the claim as the real one does."""

    def __init__(self, live_chats: LiveChats) -> None:
        self._live_chats = live_chats
        self._stamper = Stamper()

    def close_claimed(self, members: Sequence[Member]) -> None:
        """Stamp the numbers, which are the ids' last bits."""
        self._stamper.stamp([one.session_id.int & (2**_NUMBER_BITS - 1) for one in members])
        self._live_chats.forget(members)


def main() -> None:
    """Listen until ended."""
    url = redis_url()
    live_chats = LiveChats(worker_client(url), 1)
    ExpiryListener(
        live_chats,
        _StampingCloser(live_chats),
        primaries=OneServer(worker_client(url), pubsub_client(url), 1),
        database=0,
        on_resubscribed=lambda: None,
        on_untrusted=lambda _shard: None,
    ).run(Event())


if __name__ == "__main__":
    main()
