"""Plain keyspace notifications: `SET … PX` for each reset, a subscriber to expired events.

What most start with. Redis publishes when it deletes a key, and it looks for keys to delete by
sampling; at `TUNED` it does so as often as it can be told to.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

from benchmarks.peers.engine import BATCH, Engine, redis_url
from benchmarks.peers.timers import Stamper
from benchmarks.rig import Rig
from timer_service.keys import expired_channel
from timer_service.redis_clients import open_pubsub, pubsub_client, worker_client

_CHANNEL = expired_channel(0)


class PlainKeys(Engine):
    """The server's defaults."""

    label = "plain keys"
    survives = False
    note = "SET PX, expired events, server defaults; an event nobody heard is lost"
    config: ClassVar[dict[str, str]] = {}

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self._client = worker_client(rig.redis_url)
        for name, value in self.config.items():
            self._client.config_set(name, value)
        rig.start(
            "handler",
            (sys.executable, "-m", __name__),
            ready=lambda: bool(self._client.pubsub_channels(_CHANNEL)),
        )

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Set keys, pipelined."""
        items = list(deadlines.items())
        for start in range(0, len(items), BATCH):
            with self._client.pipeline(transaction=False) as pipe:
                for number, deadline_s in items[start : start + BATCH]:
                    pipe.set(f"timer:{number}", 1, pxat=round(deadline_s * 1000))
                pipe.execute()

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Set the keys again."""
        px_ms = round(in_s * 1000)
        if len(numbers) == 1:
            self._client.set(f"timer:{numbers[0]}", 1, px=px_ms)
            return
        with self._client.pipeline(transaction=False) as pipe:
            for number in numbers:
                pipe.set(f"timer:{number}", 1, px=px_ms)
            pipe.execute()


class TunedPlainKeys(PlainKeys):
    """Everything Redis can be told to expire sooner."""

    label = "plain keys, tuned"
    note = "the same with active-expire-effort 10, hz 500"
    config: ClassVar[dict[str, str]] = {"active-expire-effort": "10", "hz": "500"}


def main() -> None:
    """Listen until ended."""
    stamper = Stamper()
    with open_pubsub(pubsub_client(redis_url())) as pubsub:
        pubsub.subscribe(_CHANNEL)
        while True:
            message = pubsub.get_message(timeout=1)
            if message and message["type"] == "message":
                stamper.stamp([int(message["data"].rpartition(b":")[2])])


if __name__ == "__main__":
    main()
