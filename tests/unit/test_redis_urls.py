from __future__ import annotations

import pytest

from timer_service.doctor import masked
from timer_service.errors import ConfigurationError
from timer_service.redis_urls import Topology, next_database, parse_redis_url
from timer_service.settings import load_settings

CLUSTER = "redis+cluster://:s3cret@a:7000,b,[::1]:7002"
SENTINELS = "redis+sentinel://:s3cret@a:5000,b,[::1]:5002/timers/2?sentinel_password=0ther"


def test_sentinels_are_read_with_their_service_and_both_passwords() -> None:
    found = parse_redis_url(SENTINELS)
    assert found.topology is Topology.SENTINEL
    assert found.addresses == (("a", 5000), ("b", 26379), ("::1", 5002))
    assert (found.service, found.database) == ("timers", 2)
    assert found.options == {"password": "s3cret"}
    assert found.sentinel_options == {"password": "0ther"}
    assert not found.is_encrypted


def test_a_cluster_is_read_with_its_servers() -> None:
    found = parse_redis_url(CLUSTER)
    assert found.topology is Topology.CLUSTER
    assert found.addresses == (("a", 7000), ("b", 6379), ("::1", 7002))
    assert (found.database, found.options) == (0, {"password": "s3cret"})


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_tls_and_its_options_are_redis_pys(kind: str) -> None:
    path = "/timers" if kind == "sentinel" else ""
    url = f"rediss+{kind}://user:p%40ss@a,b{path}?ssl_cert_reqs=none&socket_keepalive=yes"
    found = parse_redis_url(url)
    assert found.is_encrypted
    assert found.options == {
        "username": "user",
        "password": "p@ss",
        "ssl_cert_reqs": "none",
        "socket_keepalive": True,
    }


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis+sentinel://a/timers", 0),
        ("redis+sentinel://a/timers/4", 4),
        ("redis+sentinel://a/timers?db=5", 5),
        ("redis+cluster://a", 0),
        ("redis+cluster://a/0", 0),
    ],
)
def test_the_database_is_read(url: str, database: int) -> None:
    assert parse_redis_url(url).database == database


@pytest.mark.parametrize(
    ("url", "following"),
    [
        ("redis+sentinel://:p@a:1,b:2/timers", "redis+sentinel://:p@a:1,b:2/timers/1"),
        (
            "redis+sentinel://a/timers/4?sentinel_password=x",
            "redis+sentinel://a/timers/5?sentinel_password=x",
        ),
        ("redis+sentinel://a/timers?db=5", "redis+sentinel://a/timers?db=6"),
    ],
)
def test_behind_sentinels_the_queue_has_the_next_database(url: str, following: str) -> None:
    assert next_database(url) == following
    assert parse_redis_url(following).database == parse_redis_url(url).database + 1


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://s3cret@host", "expected redis://"),
        ("sentinel://s3cret@host", "expected redis://"),
        ("redis+ring://s3cret@host", "expected redis://"),
        ("valkey+cluster://s3cret@host", "expected redis://"),
        ("redis+cluster://s3cret@host/1", "database 0 only"),
        ("redis+cluster://s3cret@host?db=1", "database 0 only"),
        ("redis+cluster://", "host:port"),
        ("redis+cluster://s3cret@a,:6379", "host:port"),
        ("redis+cluster://s3cret@a:port", "host:port"),
        ("redis+sentinel://s3cret@host:26379", "name of the service"),
        ("redis+sentinel://s3cret@host/timers/0/more", "name of the service"),
        ("redis+sentinel://s3cret@host/timers/first", "to be a number"),
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_redis_url(url)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"TIMER_REDIS_URL.*{complaint}"):
        load_settings(redis_url=url)


def test_nothing_shown_of_a_url_holds_a_password() -> None:
    for url in (CLUSTER, SENTINELS, "redis://u:s3cret@h/0?password=s3cret&db=1"):
        assert "s3cret" not in repr(parse_redis_url(url))
        assert "0ther" not in repr(parse_redis_url(url))
        assert "s3cret" not in masked(url)
        assert "0ther" not in masked(url)
    assert masked(CLUSTER) == "redis+cluster://:***@a:7000,b,[::1]:7002"
    assert masked("postgresql://user:secret@h:1/db") == "postgresql://user:***@h:1/db"
    assert masked("https://api.example/v1") == "https://api.example/v1"


class TestTheQueue:
    def test_a_cluster_is_refused_with_the_reason(self) -> None:
        with pytest.raises(ConfigurationError, match=r"TIMER_QUEUE_REDIS_URL.*RQ does not run"):
            load_settings(queue_redis_url=CLUSTER)

    def test_beside_a_cluster_it_must_be_named(self) -> None:
        with pytest.raises(ConfigurationError, match=r"TIMER_QUEUE_REDIS_URL.*must be set"):
            load_settings(redis_url=CLUSTER)
        settings = load_settings(redis_url=CLUSTER, queue_redis_url=SENTINELS)
        assert settings.require_redis_url() == CLUSTER

    def test_a_cluster_has_no_next_database(self) -> None:
        with pytest.raises(ValueError, match="one database only"):
            next_database(CLUSTER)
