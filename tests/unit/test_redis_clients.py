from __future__ import annotations

import pickle

import pytest
from redis import ConnectionPool, Redis, RedisError
from redis.connection import SSLConnection
from redis.sentinel import MasterNotFoundError
from rq.connections import parse_connection

from timer_service.errors import ConfigurationError, RedisUnavailable
from timer_service.redis_clients import (
    database_of,
    default_queue_url,
    live_request_client,
    live_worker_client,
    primary_finder,
    pubsub_client,
    queue_client,
    redis_errors,
    request_client,
    worker_client,
)
from timer_service.redis_cluster import ClusterClient
from timer_service.redis_sentinel import SentinelConnection

ALL_KINDS = [request_client, worker_client, pubsub_client, queue_client]


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://host", 0),
        ("redis://host:6380/", 0),
        ("redis://:secret@host:6380/3", 3),
        ("rediss://user:secret@host/5", 5),
        ("redis://host/1?db=7", 7),
        ("unix:///run/redis.sock?db=2", 2),
    ],
)
def test_the_database_is_read_as_redis_py_reads_it(url: str, database: int) -> None:
    assert database_of(url) == database
    assert worker_client(url).connection_pool.connection_kwargs.get("db", 0) == database


@pytest.mark.parametrize(
    ("url", "queue_url"),
    [
        ("redis://host", "redis://host/1"),
        ("redis://:s%40cret@host:6380/3", "redis://:s%40cret@host:6380/4"),
        ("rediss://user:secret@host/0?ssl_cert_reqs=none", None),
        ("redis://host/1?db=7", "redis://host/1?db=8"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
    ],
)
def test_the_queue_lives_in_the_next_database(url: str, queue_url: str | None) -> None:
    assert default_queue_url(url) == (queue_url or url.replace("/0?", "/1?"))
    assert database_of(default_queue_url(url)) == database_of(url) + 1


@pytest.mark.parametrize("make", ALL_KINDS)
@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/0",
        "rediss://h:1/0",
        "redis://h:1/0?protocol=3",
        "redis+sentinel://h:1,i:1/timers",
        "rediss+sentinel://h:1,i:1/timers",
    ],
)
def test_no_client_retries_behind_our_back_or_stretches_its_time_outs(make, url: str) -> None:
    client: Redis = make(url)
    connection = client.connection_pool.make_connection()
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error == []
    assert connection.health_check_interval == 0
    assert not client.connection_pool.maint_notifications_enabled()
    assert 0 < connection.socket_timeout <= 5
    assert 0 < connection.socket_connect_timeout <= 5


@pytest.mark.parametrize("make", [live_request_client, live_worker_client])
@pytest.mark.parametrize("url", ["redis+cluster://h:1,i:2", "rediss+cluster://h:1,i:2"])
def test_nor_does_a_clusters(make, url: str) -> None:
    client = make(url)
    assert isinstance(client, ClusterClient)
    pool = client.client_of(("h", 1)).connection_pool
    connection = pool.make_connection()
    assert isinstance(connection, SSLConnection) == url.startswith("rediss")
    assert connection.retry.get_retries() == 0
    assert not pool.maint_notifications_enabled()
    bound_s = 0.2 if make is live_request_client else 2
    assert connection.socket_timeout == connection.socket_connect_timeout == bound_s


def test_all_sentinels_together_are_asked_within_the_time_of_one_command() -> None:
    finder = primary_finder("redis+sentinel://:p@a:1,b:1,c:1/timers", timeout_s=0.3)
    kwargs = [one.connection_pool.connection_kwargs for one in finder._sentinel.sentinels]
    assert [one["socket_timeout"] for one in kwargs] == pytest.approx([0.1] * 3)
    assert all(one["retry"].get_retries() == 0 for one in kwargs)
    assert all(one.get("password") is None for one in kwargs), "that one is the data servers'"


def test_a_sentinel_client_can_be_described_to_another_process() -> None:
    """As RQ does when it starts its scheduler."""
    client = queue_client("redis+sentinel://:p@a:1,b:1/timers/1")
    told = pickle.loads(pickle.dumps(parse_connection(client)))
    remade = told[0](connection_pool=ConnectionPool(connection_class=told[1], **told[2]))
    connection = remade.connection_pool.make_connection()
    assert isinstance(connection, SentinelConnection)
    assert (connection.db, connection.password) == (1, "p")
    with pytest.raises(MasterNotFoundError):
        remade.ping()


def test_where_one_server_is_expected_a_cluster_is_refused() -> None:
    for make in ALL_KINDS:
        with pytest.raises(ConfigurationError, match="Cluster"):
            make("redis+cluster://h:1")


def test_the_request_path_waits_a_fifth_of_a_second_at_most() -> None:
    pool = request_client("redis://127.0.0.1:1/0").connection_pool
    connection = pool.make_connection()
    assert connection.socket_timeout == connection.socket_connect_timeout == 0.2
    assert pool.timeout <= 0.1


def test_only_text_clients_decode() -> None:
    decodes = [
        make("redis://h").connection_pool.connection_kwargs["decode_responses"]
        for make in ALL_KINDS
    ]
    assert decodes == [True, True, False, False]


@pytest.mark.parametrize("cause", [RedisError("no"), ConnectionResetError("gone"), TimeoutError()])
def test_every_fault_of_redis_becomes_ours_with_its_cause(cause: Exception) -> None:
    with pytest.raises(RedisUnavailable) as caught, redis_errors():
        raise cause
    assert caught.value.__cause__ is cause
    assert type(cause).__name__ in str(caught.value)
    assert caught.value.retryable


def test_other_faults_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), redis_errors():
        raise ZeroDivisionError
