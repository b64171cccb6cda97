from __future__ import annotations

import pytest
from redis import Redis, RedisError

from timer_service.errors import RedisUnavailable
from timer_service.redis_clients import (
    database_of,
    default_queue_url,
    pubsub_client,
    queue_client,
    redis_errors,
    request_client,
    worker_client,
)

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
@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h:1/0", "redis://h:1/0?protocol=3"])
def test_no_client_retries_behind_our_back_or_stretches_its_time_outs(make, url: str) -> None:
    client: Redis = make(url)
    connection = client.connection_pool.make_connection()
    assert connection.retry.get_retries() == 0
    assert connection.retry_on_error == []
    assert connection.health_check_interval == 0
    assert not client.connection_pool.maint_notifications_enabled()
    assert 0 < connection.socket_timeout <= 5
    assert 0 < connection.socket_connect_timeout <= 5


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
