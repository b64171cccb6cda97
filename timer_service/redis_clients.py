"""Makes the Redis clients, one kind for each purpose, and turns their faults into ours.

Called by wiring (the only place that builds clients) and by the modules that talk to Redis.
Nothing here opens a connection: redis-py does so at the first command.

redis-py 8.1's defaults fit no purpose here (source: its installed code, November 2026): ten hidden
retries with back-off; a hello and two SETINFO round trips at each connect; and maintenance
notifications, which stretch time-outs to 10 s and hand out pooled connections without looking
whether the server has closed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

from redis import BlockingConnectionPool, ConnectionPool, Redis, RedisError
from redis import exceptions as redis_exceptions
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.connection import AbstractConnection, Connection, ConnectionInterface, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from timer_service.circuit import Circuit
from timer_service.errors import RedisUnavailable

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


def request_client(url: str) -> Redis:
    """Make the client of the request path: an answer or an error within its share of a second."""
    return Redis.from_pool(
        _CautiousPool.from_url(url, max_connections=50, timeout=0.05, **_options(REQUEST_TIMEOUT_S))
    )


def worker_client(url: str) -> Redis:
    """Make the client of background duties, which can wait longer and see every error."""
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url, max_connections=16, timeout=1.0, **_options(BACKGROUND_TIMEOUT_S)
        )
    )


def pubsub_client(url: str) -> Redis:
    """Make the client of a subscription. It answers in bytes: foreign keys may be no text."""
    return Redis.from_pool(
        ConnectionPool.from_url(url, **_options(BACKGROUND_TIMEOUT_S, decode_responses=False))
    )


def queue_client(url: str) -> Redis:
    """Make RQ's client. RQ decodes for itself, and raises the time-out where it blocks."""
    return Redis.from_pool(
        ConnectionPool.from_url(url, **_options(BACKGROUND_TIMEOUT_S, decode_responses=False))
    )


def request_queue_client(url: str) -> Redis:
    """Make RQ's client of the request path."""
    return Redis.from_pool(
        _CautiousPool.from_url(
            url,
            max_connections=50,
            timeout=0.05,
            **_options(REQUEST_TIMEOUT_S, decode_responses=False),
        )
    )


def database_of(url: str) -> int:
    """Return the number of the database a URL names, 0 where it names none."""
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return int(options.get("db", 0))


def default_queue_url(url: str) -> str:
    """Return the URL of the next database of the same server: RQ's own keys expire too."""
    following = database_of(url) + 1
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    if "db" in options or base.startswith("unix:"):
        return f"{base}?{urlencode({**options, 'db': following})}"
    scheme, _, rest = base.partition("://")
    server = rest.partition("/")[0]
    return f"{scheme}://{server}/{following}" + (f"?{query}" if query else "")


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
    }
