"""Makes sure Redis tells us when a key expires, and finds out whether it does.

Called by the expiry listener at each subscription (what CONFIG sets is gone after a restart) and by
`doctor`. It never decides anything about sessions.
"""

from __future__ import annotations

import secrets
from enum import StrEnum

from redis import Redis
from redis.exceptions import ResponseError

from timer_service import keys
from timer_service.clock import monotonic_s
from timer_service.redis_clients import open_pubsub, redis_errors

SAFE_EVICTION_POLICY = "noeviction"
"""Any other ``maxmemory-policy`` may throw live sessions out of the index."""

_CANARY_PX_MS = 2
_CANARY_WAIT_S = 0.25


class NotificationMode(StrEnum):
    """How expired keys are noticed: by Redis's events, or by the pacer alone."""

    EVENTS = "events"
    DIRECT = "direct"


def ensure_notifications(client: Redis, tag: str = "") -> NotificationMode:
    """Turn on expired events of one server if they are off, and answer whether they will come.

    Flags others need are kept. Where CONFIG is refused (managed Redis) a canary key shows whether
    the events were turned on by other means; in a cluster ``tag`` keeps it at this server.

    Raises:
        RedisUnavailable: Redis is away, or refused more than CONFIG.
    """
    with redis_errors():
        try:
            flags = str(client.config_get("notify-keyspace-events")["notify-keyspace-events"])
            wanted = add_expired_events(flags)
            if wanted != flags:
                client.config_set("notify-keyspace-events", wanted)
        except (ResponseError, KeyError):
            return NotificationMode.EVENTS if canary_sings(client, tag) else NotificationMode.DIRECT
        return NotificationMode.EVENTS


def add_expired_events(flags: str) -> str:
    """Add what makes Redis publish ``__keyevent@<db>__:expired`` to its present flags.

    ``"Kl"`` becomes ``"KlEx"``; ``A`` includes ``x``.
    """
    if "E" not in flags:
        flags += "E"
    if "x" not in flags and "A" not in flags:
        flags += "x"
    return flags


def canary_sings(client: Redis, tag: str = "") -> bool:
    """Let a key expire and tell whether its event arrives within a quarter of a second.

    Raises:
        RedisUnavailable: Redis is away, or refuses to set a key or to subscribe.
    """
    key = keys.canary_key(secrets.token_hex(8), tag)
    database = int(client.connection_pool.connection_kwargs.get("db", 0))
    with redis_errors(), open_pubsub(client) as pubsub:
        pubsub.subscribe(keys.expired_channel(database))
        # The confirmation comes first, so that the event cannot come before the subscription.
        pubsub.get_message(timeout=_CANARY_WAIT_S)
        client.set(key, "", px=_CANARY_PX_MS)
        give_up_at_s = monotonic_s() + _CANARY_WAIT_S
        while monotonic_s() < give_up_at_s:
            # Looking at a key that is due is what makes Redis publish; see lua/pace.lua.
            client.exists(key)
            message = pubsub.get_message(timeout=_CANARY_PX_MS / 1000)
            # Any key's event will do: it shows that they come.
            if message and message["type"] == "message":
                return True
    return False


def eviction_policy(client: Redis) -> str:
    """Return the server's ``maxmemory-policy``, from INFO since CONFIG may be refused.

    Raises:
        RedisUnavailable: Redis is away.
    """
    with redis_errors():
        return str(client.info("memory").get("maxmemory_policy", "unknown"))
