"""Which servers hold the live keys at present, and which shards each of them holds.

Asked by the expiry listener, which subscribes to each and paces its shards. Keyspace events never
leave the server that publishes them, and a subscription does not follow a primary that moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from redis import Redis

from timer_service import keys
from timer_service.redis_clients import (
    cluster_pubsub_client,
    live_worker_client,
    primary_finder,
    pubsub_client,
    redis_errors,
    worker_client,
)
from timer_service.redis_cluster import ClusterClient
from timer_service.redis_sentinel import PrimaryFinder
from timer_service.redis_urls import Address, Topology, parse_redis_url


@dataclass(frozen=True, slots=True)
class Primary:
    """A server that holds shards.

    ``client`` is for background duties, ``events_client`` for the subscription (it answers in
    bytes). Keys with ``tag`` lie there; any key does where it is empty.
    """

    name: str
    client: Redis
    events_client: Redis
    tag: str = ""


class Primaries(Protocol):
    """Knows the primaries. ``is_fixed``: there is one, for ever."""

    is_fixed: bool

    def look(self) -> Sequence[Primary]:
        """Return the primaries of this moment.

        Raises:
            RedisUnavailable: nobody tells; it is best to go on with those of before.
        """

    def shards_of(self, primary: Primary) -> Sequence[int]:
        """Return the shards a primary holds, as far as is known. Cheap."""


class OneServer:
    """The server a URL names."""

    is_fixed = True

    def __init__(self, client: Redis, events_client: Redis, shards: int) -> None:
        self._primary = Primary("", client, events_client)
        self._shards = range(shards)

    def look(self) -> Sequence[Primary]:
        """Return it."""
        return (self._primary,)

    def shards_of(self, primary: Primary) -> Sequence[int]:  # noqa: ARG002 - it has all
        """Return every shard."""
        return self._shards


class BehindSentinels:
    """The server that Sentinels call the primary."""

    is_fixed = False

    def __init__(
        self, finder: PrimaryFinder, client: Redis, events_client: Redis, shards: int
    ) -> None:
        self._finder = finder
        self._client = client
        self._events_client = events_client
        self._shards = range(shards)

    def look(self) -> Sequence[Primary]:
        """Ask the Sentinels. The clients follow by themselves when they next connect."""
        with redis_errors():
            host, port = self._finder.find()
        return (Primary(f"{host}:{port}", self._client, self._events_client),)

    def shards_of(self, primary: Primary) -> Sequence[int]:  # noqa: ARG002 - it has all
        """Return every shard."""
        return self._shards


class OfCluster:
    """Every primary of a cluster."""

    is_fixed = False

    def __init__(self, url: str, cluster: ClusterClient, shards: int) -> None:
        self._url = url
        self._cluster = cluster
        self._shards = shards
        self._known: dict[Address, Primary] = {}
        self._by_name: dict[str, tuple[int, ...]] = {}
        self._changes = -1

    def look(self) -> Sequence[Primary]:
        """Ask the cluster."""
        with redis_errors():
            self._cluster.look()
        self._known = {
            address: self._known.get(address) or self._meet(address)
            for address in self._cluster.primaries
        }
        return list(self._known.values())

    def shards_of(self, primary: Primary) -> Sequence[int]:
        """Return what the client's map of slots says."""
        changes = self._cluster.changes
        if changes != self._changes:
            by_name: dict[str, tuple[int, ...]] = {}
            for shard in range(self._shards):
                owner = self._cluster.owner_of(keys.epoch_key(shard))
                if owner is not None:
                    name = _name(owner)
                    by_name[name] = (*by_name.get(name, ()), shard)
            self._by_name, self._changes = by_name, changes
        return self._by_name.get(primary.name, ())

    def _meet(self, address: Address) -> Primary:
        return Primary(
            _name(address),
            self._cluster.client_of(address),
            cluster_pubsub_client(self._url, address),
            self._cluster.tag_at(address) or "",
        )


def primaries_of(url: str, shards: int) -> Primaries:
    """Return who knows the primaries behind a URL."""
    parsed = parse_redis_url(url)
    if parsed.topology is Topology.CLUSTER:
        cluster = live_worker_client(url)
        assert isinstance(cluster, ClusterClient)
        return OfCluster(url, cluster, shards)
    client, events_client = worker_client(url), pubsub_client(url)
    if parsed.topology is Topology.SENTINEL:
        return BehindSentinels(primary_finder(url), client, events_client, shards)
    return OneServer(client, events_client, shards)


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
