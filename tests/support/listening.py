"""A listener's threads in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.builders import World
from timer_service.closing import Closer
from timer_service.expiry_listener import ExpiryListener
from timer_service.primaries import OneServer
from timer_service.redis_clients import database_of, pubsub_client, worker_client


@contextmanager
def listening(world: World, closer: Closer | None = None) -> Iterator[None]:
    """Run a listener on a world's servers for the block, its sweep when the test calls for it."""
    stop = threading.Event()
    with (
        worker_client(world.redis_url) as client,
        pubsub_client(world.redis_url) as events_client,
    ):
        listener = ExpiryListener(
            world.live_chats,
            closer or world.closer,
            primaries=OneServer(client, events_client, world.shards),
            database=database_of(world.redis_url),
            on_resubscribed=lambda: None,
            on_untrusted=lambda _shard: None,
        )
        thread = threading.Thread(target=listener.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
