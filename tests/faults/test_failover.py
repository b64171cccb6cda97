"""Redis fails over to a replica that had fallen behind (B10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.support.builders import DANA, NOAM, World
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def replica() -> Iterator[RedisServer]:
    server = RedisServer("--appendonly", "no")
    yield server
    server.destroy()


def test_an_older_replica_is_distrusted_rebuilt_and_closes_nothing_early(
    redis_may_go: World, own_redis_server: RedisServer, replica: RedisServer
) -> None:
    old = redis_may_go
    first = old.hear(contact=DANA).session_id
    with Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", str(own_redis_server.port))
        wait_until(lambda: client.dbsize() > 0, what="the replica has it all")
        client.replicaof("NO", "ONE")
    old.let_pass(600)
    old.hear(contact=DANA)  # the replica never hears of this touch
    second = old.hear(contact=NOAM).session_id  # nor of this session
    own_redis_server.kill()

    with World(old.database_url, replica.url) as new:
        new.business_id, new.connection_id = old.business_id, old.connection_id
        assert new.counted_by_redis() is None
        assert new.counted() == 2
        new.trust()
        assert new.counted_by_redis() == new.counted() == 2
        assert new.closer.close_claimed([new.member(first), new.member(second)]) == 0
        assert new.session(first).is_open
        assert new.session(second).is_open


def test_a_redis_that_takes_no_writes_costs_no_message_and_is_armed_afterwards(
    redis_may_go: World, own_redis_server: RedisServer
) -> None:
    with Redis.from_url(own_redis_server.url) as client:
        client.replicaof("127.0.0.1", "1")  # nobody is there: a replica that only reads
        session_id = redis_may_go.hear().session_id
        assert redis_may_go.session(session_id).is_open
        client.replicaof("NO", "ONE")
    redis_may_go.sweeper.sweep_once()
    redis_may_go.trust()
    assert redis_may_go.counted_by_redis() == 1
