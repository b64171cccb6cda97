from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from timer_service.errors import RedisUnavailable
from timer_service.notifications import (
    SAFE_EVICTION_POLICY,
    NotificationMode,
    add_expired_events,
    ensure_notifications,
    eviction_policy,
)
from timer_service.redis_clients import worker_client


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with worker_client(redis_url) as client:
        client.config_set("notify-keyspace-events", "")
        yield client


@pytest.fixture
def client_without_config(client: Redis) -> Iterator[Redis]:
    """As managed Redis is: everything is allowed except CONFIG."""
    client.execute_command(
        "ACL", "SETUSER", "tenant", "on", "nopass", "~*", "&*", "+@all", "-config"
    )
    port = client.connection_pool.connection_kwargs["port"]
    with worker_client(f"redis://tenant:any@127.0.0.1:{port}/0") as limited:
        yield limited
    client.execute_command("ACL", "DELUSER", "tenant")


def flags_of(client: Redis) -> set[str]:
    return set(client.config_get("notify-keyspace-events")["notify-keyspace-events"])


@pytest.mark.parametrize(
    ("present", "missing"), [("", {"E", "x"}), ("Kl", {"E", "x"}), ("Kx", {"E"}), ("Eg", {"x"})]
)
def test_missing_flags_are_added_to_those_others_need(
    client: Redis, present: str, missing: set[str]
) -> None:
    client.config_set("notify-keyspace-events", present)
    assert ensure_notifications(client) is NotificationMode.EVENTS
    assert flags_of(client) == set(present) | missing


@pytest.mark.parametrize("present", ["Ex", "AE", "AKE", "xEK$"])
def test_sufficient_flags_are_left_alone(present: str) -> None:
    assert add_expired_events(present) == present


def test_events_switched_on_by_other_means_are_noticed_where_config_is_refused(
    client: Redis, client_without_config: Redis
) -> None:
    client.config_set("notify-keyspace-events", "Ex")
    assert ensure_notifications(client_without_config) is NotificationMode.EVENTS


def test_without_events_and_without_config_the_mode_is_direct(
    client: Redis, client_without_config: Redis
) -> None:
    assert ensure_notifications(client_without_config) is NotificationMode.DIRECT
    assert flags_of(client) == set()


def test_the_canary_is_heard_among_many_other_keys(
    client: Redis, client_without_config: Redis
) -> None:
    # Redis's own cycle would come to the canary after minutes: it must be touched.
    client.eval("for i = 1, 50000 do redis.call('SET', i, '', 'PX', 3600000) end", 0)
    client.config_set("notify-keyspace-events", "Ex")
    assert ensure_notifications(client_without_config) is NotificationMode.EVENTS


def test_the_canary_listens_in_its_own_database(
    client: Redis, client_without_config: Redis
) -> None:
    client.config_set("notify-keyspace-events", "Ex")
    port = client.connection_pool.connection_kwargs["port"]
    with worker_client(f"redis://tenant:any@127.0.0.1:{port}/3") as elsewhere:
        assert ensure_notifications(elsewhere) is NotificationMode.EVENTS


def test_a_server_that_is_away_is_no_direct_mode() -> None:
    with worker_client("redis://127.0.0.1:1/0") as away, pytest.raises(RedisUnavailable):
        ensure_notifications(away)


def test_the_eviction_policy_is_read_without_config(
    client: Redis, client_without_config: Redis
) -> None:
    policies = [eviction_policy(client_without_config)]
    client.config_set("maxmemory-policy", "allkeys-lru")
    policies.append(eviction_policy(client_without_config))
    client.config_set("maxmemory-policy", "noeviction")
    assert policies == [SAFE_EVICTION_POLICY, "allkeys-lru"]
