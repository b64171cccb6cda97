"""Which shards this listener looks after first, among all listeners that run.

Advice only: whoever acts, the claim decides, and what the listener of a shard leaves lying another
takes over. It spares each listener the work of all. A listener that hears nothing of the others
acts as if it were alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import structlog

from timer_service.live_chats import LiveChats

log = structlog.get_logger(__name__)

ALIVE_MS = 600
"""Who has not shown itself for so long is taken for dead."""


class ShardSharing:
    """Shares the shards out by the listeners' names: all come to the same result unasked."""

    def __init__(self, live_chats: LiveChats) -> None:
        self.name = secrets.token_hex(8)
        self._live_chats = live_chats
        self._listeners: list[str] = []
        self.others_shards: frozenset[int] = frozenset()
        """What other listeners look after first."""

    def meet(self) -> None:
        """Show that this listener is alive, and learn who else is.

        Raises:
            RedisUnavailable: until the next time this listener looks after everything.
        """
        try:
            self._share_among(self._live_chats.meet(self.name, ALIVE_MS))
        except Exception:
            self._share_among([self.name])
            raise

    def leave(self) -> None:
        """Let the others look after everything.

        Raises:
            RedisUnavailable: they will notice by themselves.
        """
        self._live_chats.leave(self.name)

    def _share_among(self, listeners: Iterable[str]) -> None:
        present = sorted({*listeners, self.name})
        if present == self._listeners:
            return
        self._listeners = present
        shards = range(self._live_chats.shards)
        self.others_shards = frozenset(
            shard for shard in shards if first_listener(shard, present) != self.name
        )
        log.info(
            "shards_shared",
            listeners=len(present),
            ours=self._live_chats.shards - len(self.others_shards),
        )


def first_listener(shard: int, listeners: Iterable[str]) -> str:
    """Return whose shard it is: few move when a listener comes or goes (rendezvous hashing)."""
    return max(listeners, key=lambda name: hashlib.blake2b(f"{name}:{shard}".encode()).digest())
