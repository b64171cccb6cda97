"""Every Redis key and channel name, built and parsed here only.

All keys of one business carry one hash tag ``{shard}``, so a script that touches several of them
stays within one slot of a cluster. Ids are written short (see ``ids``); a key never holds a phone
number.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

from timer_service.ids import BusinessId, ConnectionId, SessionId, lengthen, shorten

# There are few businesses, and each is named with every session.
shorten_business = lru_cache(maxsize=10_000)(shorten)
_lengthen_business = lru_cache(maxsize=10_000)(lengthen)


def shard_of(business_id: BusinessId, shards: int) -> int:
    """Return the shard of a business, 0 ≤ shard < shards. Fixed for the life of an install."""
    return zlib.crc32(business_id.bytes) % shards


def live_prefix(shard: int) -> str:
    """Prefix of every live key of a shard; ``<business>:<session>`` follows."""
    return f"ts:{{{shard}}}:live:"


def active_prefix(shard: int) -> str:
    """Prefix of every deadline index of a shard; ``<business>`` follows."""
    return f"ts:{{{shard}}}:active:"


def live_key(shard: int, business_id: BusinessId, session_id: SessionId) -> str:
    """String → version, with a PX of what is left until the deadline. Its expiry is the event."""
    return f"{live_prefix(shard)}{shorten_business(business_id)}:{shorten(session_id)}"


def active_key(shard: int, business_id: BusinessId) -> str:
    """Zset session → deadline (ms since the epoch, Redis's clock): the deadline index."""
    return f"{active_prefix(shard)}{shorten_business(business_id)}"


def agenda_key(shard: int) -> str:
    """Zset business → when the pacer must look at it next (ms): every business with sessions.

    At its earliest deadline, or once that was touched when a member nobody claimed is taken over.
    """
    return f"ts:{{{shard}}}:agenda"


def claimed_key(shard: int) -> str:
    """Zset ``<business>:<session>`` → lease end (ms): claimed and not yet settled."""
    return f"ts:{{{shard}}}:claimed"


def epoch_key(shard: int) -> str:
    """string, no TTL: ``building:<token>:<run_id>``, or the server's ``run_id`` once rebuilt."""
    return f"ts:{{{shard}}}:epoch"


def swept_key(shard: int) -> str:
    """Hash pass → watermark (ISO 8601): how far the sweep has read what opened and closed."""
    return f"ts:{{{shard}}}:swept"


def pace_key(connection_id: ConnectionId) -> str:
    """String with a PX → ms since the epoch: how far a connection's sends are planned."""
    return f"ts:{{send:{shorten(connection_id)}}}:pace"


def canary_key(token: str, tag: str = "") -> str:
    """String with a short PX: proves at start that expired events arrive.

    Of a cluster the tag chooses the server.
    """
    return f"ts:canary:{{{tag}}}:{token}" if tag else f"ts:canary:{token}"


def heartbeat_key(process: str) -> str:
    """String with a TTL: a process of this kind was alive lately."""
    return f"ts:heartbeat:{process}"


def spools_key() -> str:
    """Set of the ids of all spools that ever announced themselves and did not withdraw."""
    return "ts:{spools}:all"


def spool_key(spool_id: str) -> str:
    """String with a TTL: the earliest receipt that waits in a host's spool (ISO 8601)."""
    return f"ts:{{spools}}:oldest:{spool_id}"


def listeners_key() -> str:
    """Zset listener → its last beat (ms): who else is there to look after shards."""
    return "ts:listeners"


def expired_channel(database: int) -> str:
    """The exact channel of expired events of one Redis database."""
    return f"__keyevent@{database}__:expired"


class Member(NamedTuple):
    """One session as the deadline index and the live keys name it."""

    business_id: BusinessId
    session_id: SessionId


def member_text(member: Member) -> str:
    """Write ``<business>:<session>``, the tail of a live key and the member of ``claimed``."""
    return f"{shorten_business(member.business_id)}:{shorten(member.session_id)}"


def parse_member(text: str) -> Member | None:
    """Read ``<business>:<session>`` back; None for anything else."""
    business, _, session = text.partition(":")
    try:
        return Member(BusinessId(_lengthen_business(business)), SessionId(lengthen(session)))
    except ValueError:
        return None


def parse_business(text: str) -> BusinessId | None:
    """Read a short business id back; None for anything else."""
    try:
        return BusinessId(_lengthen_business(text))
    except ValueError:
        return None


def parse_session(text: str) -> SessionId | None:
    """Read a short session id back; None for anything else."""
    try:
        return SessionId(lengthen(text))
    except ValueError:
        return None


def parse_live_key(key: str) -> Member | None:
    """Read a live key back; None for any other key, of ours or not."""
    head, found, tail = key.partition("}:live:")
    if not found or not head.startswith("ts:{"):
        return None
    return parse_member(tail)
