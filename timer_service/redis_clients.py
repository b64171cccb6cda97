"""Makes the Redis clients, one kind for each purpose, and turns their faults into ours.

Called by wiring (the only place that builds clients) and by the modules that talk to Redis.
Nothing here opens a connection: redis-py does so at the first command.

redis-py 8.1's defaults fit no purpose here (source: its installed code, November 2026): ten hidden
retries with back-off; a hello and two SETINFO round trips at each connect; and maintenance
notifications, which stretch time-outs to 10 s and hand out pooled connections without looking
whether the server has closed them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from redis import BlockingConnectionPool, ConnectionPool, Redis, RedisError
from redis import exceptions as redis_exceptions
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.connection import AbstractConnection, Connection, ConnectionInterface, SSLConnection
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from timer_service.circuit import Circuit
from timer_service.errors import ConfigurationError, RedisUnavailable
from timer_service.redis_cluster import ClusterClient, Command, send_commands
from timer_service.redis_sentinel import (
    EncryptedSentinelConnection,
    PrimaryFinder,
    SentinelConnection,
)
from timer_service.redis_urls import (
    Address,
    RedisUrl,
    Topology,
    next_database,
    parse_redis_url,
)

REQUEST_TIMEOUT_S = 0.2
BACKGROUND_TIMEOUT_S = 2.0
PAUSE_S = 0.5
"""How long callers are refused at once after Redis could not be reached or said nothing."""


class _CautiousPool(BlockingConnectionPool):
    """Hands out no connection for a moment after one broke: one webhook pays, not all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._circuit = Circuit(PAUSE_S)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Connection:  # noqa: ARG002 - theirs
        """Return a connection that works.

        Raises:
            redis.exceptions.ConnectionError: there is none, or Redis was away a moment ago.
        """
        if not self._circuit.may_call():
            raise redis_exceptions.ConnectionError("Redis was away a moment ago")
        try:
            connection: Connection = super().get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            self._circuit.failed()
            raise
        return connection

    def release(self, connection: ConnectionInterface) -> None:
        """Take a connection back, broken or not."""
        if isinstance(connection, AbstractConnection) and not connection.is_connected:
            self._circuit.failed()
        else:
            self._circuit.answered()
        super().release(connection)  # type: ignore[no-untyped-call]


_REQUEST_POOL = {"max_connections": 50, "timeout": 0.05}
_BACKGROUND_POOL = {"max_connections": 16, "timeout": 1.0}

LiveRedis = Redis | ClusterClient
"""Where the live keys are: one server (perhaps whichever Sentinels name), or a cluster."""


def live_request_client(url: str) -> LiveRedis:
    """Make the live keys' client of the request path, whatever stands behind the URL."""
    if parse_redis_url(url).topology is not Topology.CLUSTER:
        return request_client(url)
    return _cluster_client(url, REQUEST_TIMEOUT_S, _REQUEST_POOL)


def live_worker_client(url: str) -> LiveRedis:
    """Make the live keys' client of background duties, whatever stands behind the URL."""
    if parse_redis_url(url).topology is not Topology.CLUSTER:
        return worker_client(url)
    return _cluster_client(url, BACKGROUND_TIMEOUT_S, _BACKGROUND_POOL)


def request_client(url: str) -> Redis:
    """Make the client of the request path: an answer or an error within its share of a second."""
    return _client(url, _CautiousPool, REQUEST_TIMEOUT_S, _REQUEST_POOL)


def worker_client(url: str) -> Redis:
    """Make the client of background duties, which can wait longer and see every error."""
    return _client(url, BlockingConnectionPool, BACKGROUND_TIMEOUT_S, _BACKGROUND_POOL)


def pubsub_client(url: str) -> Redis:
    """Make the client of a subscription. It answers in bytes: foreign keys may be no text."""
    return _client(url, ConnectionPool, BACKGROUND_TIMEOUT_S, {"decode_responses": False})


def queue_client(url: str) -> Redis:
    """Make RQ's client. RQ decodes for itself, and raises the time-out where it blocks."""
    return _client(url, ConnectionPool, BACKGROUND_TIMEOUT_S, {"decode_responses": False})


def request_queue_client(url: str) -> Redis:
    """Make RQ's client of the request path."""
    more = {**_REQUEST_POOL, "decode_responses": False}
    return _client(url, _CautiousPool, REQUEST_TIMEOUT_S, more)


def cluster_pubsub_client(url: str, address: Address) -> Redis:
    """Make the client of a subscription at one server of a cluster."""
    more = {"decode_responses": False}
    return _server_client(parse_redis_url(url), address, ConnectionPool, BACKGROUND_TIMEOUT_S, more)


@lru_cache(maxsize=16)
def primary_finder(url: str, *, timeout_s: float = BACKGROUND_TIMEOUT_S) -> PrimaryFinder:
    """Return what asks the Sentinels of a URL for the primary; all of them within the time-out.

    Clients share it, so that all their connections notice what one of them learned.
    """
    parsed = parse_redis_url(url)
    return PrimaryFinder(
        parsed.service,
        parsed.addresses,
        {
            **_options(timeout_s / len(parsed.addresses)),
            **{name: value for name, value in parsed.options.items() if name.startswith("ssl_")},
            **parsed.sentinel_options,
            "ssl": parsed.is_encrypted,
        },
    )


def database_of(url: str) -> int:
    """Return the number of the database a URL names, 0 where it names none."""
    return parse_redis_url(url).database


def default_queue_url(url: str) -> str:
    """Return the URL of the next database of the same server: RQ's own keys expire too."""
    return next_database(url)


def run_commands(client: LiveRedis, commands: Sequence[Command]) -> list[Any]:
    """Run commands in one round trip to each server they concern; a refusal is an answer, too.

    What goes wrong with one command stands where its answer would; the others are carried out.

    Raises:
        RedisUnavailable: the server gave no answer, or nobody knows where a cluster's slots are.
    """
    with redis_errors():
        if isinstance(client, ClusterClient):
            return client.run(commands)
        return send_commands(client, [command.args for command in commands])


def raise_faults(replies: Sequence[Any]) -> None:
    """Raise the first fault among answers.

    Raises:
        RedisUnavailable: there is one; the other commands may have been carried out.
    """
    for reply in replies:
        if isinstance(reply, Exception):
            with redis_errors():
                raise reply


def open_pubsub(client: Redis) -> PubSub:
    """Make a subscription of a client, to be used with `with`; it connects when it subscribes."""
    pubsub: PubSub = client.pubsub()  # type: ignore[no-untyped-call]
    return pubsub


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn whatever redis-py raises into our own error.

    Raises:
        RedisUnavailable: Redis is away, too slow, or refused; chained to the cause.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise RedisUnavailable(f"Redis gave no answer: {type(error).__name__}: {error}") from error


def _client(url: str, pool: type[ConnectionPool], timeout_s: float, more: dict[str, Any]) -> Redis:
    parsed = parse_redis_url(url)
    options = {**_options(timeout_s), **more}
    if parsed.topology is Topology.ONE_SERVER:
        return Redis.from_pool(pool.from_url(url, **options))
    if parsed.topology is Topology.CLUSTER:
        raise ConfigurationError(
            "expected the URL of one Redis server or of Sentinels, found a Redis Cluster's"
        )
    encrypted = EncryptedSentinelConnection
    connection_class = encrypted if parsed.is_encrypted else SentinelConnection
    finder = primary_finder(url, timeout_s=timeout_s)
    return Redis.from_pool(
        pool(
            connection_class=connection_class,
            **{**options, "db": parsed.database, "finder": finder, **parsed.options},
        )
    )


def _cluster_client(url: str, timeout_s: float, pool_options: dict[str, Any]) -> ClusterClient:
    parsed = parse_redis_url(url)

    def make_client(address: Address) -> Redis:
        return _server_client(parsed, address, BlockingConnectionPool, timeout_s, pool_options)

    return ClusterClient(parsed.addresses, make_client, give_up_s=timeout_s)


def _server_client(
    parsed: RedisUrl,
    address: Address,
    pool: type[ConnectionPool],
    timeout_s: float,
    more: dict[str, Any],
) -> Redis:
    host, port = address
    if parsed.is_encrypted:
        more = {**more, "connection_class": SSLConnection}
    options = {**_options(timeout_s), **more, **parsed.options}
    return Redis.from_pool(pool(host=host, port=port, **options))


def _options(timeout_s: float, *, decode_responses: bool = True) -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeout_s,
        "socket_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "health_check_interval": 0,
        "decode_responses": decode_responses,
        # Bytes that are no text, whoever wrote them, can be read and named like any others.
        "encoding_errors": "surrogateescape",
    }
