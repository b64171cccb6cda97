"""A Redis Cluster of six and a primary watched by three Sentinels, on free loopback ports.

Both are real servers that a test may kill, start again and move slots between.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.support.servers import OTHER_REDIS_BINARY, RedisServer, _Server
from tests.support.waiting import wait_until
from timer_service.child_process import ChildSpec
from timer_service.embedded.redis_server import find_redis
from timer_service.embedded.server import HOST, choose_port
from timer_service.redis_cluster import SLOTS

NODE_TIMEOUT_MS = 1000
"""How long a cluster's servers wait for one that is silent, before they call it dead."""
DOWN_AFTER_MS = 500
"""The same for Sentinels."""
SERVICE = "timers"

_PRIMARIES = 3


class RedisCluster:
    """Three primaries with a replica each."""

    def __init__(self) -> None:
        self.nodes = [RedisServer(*_cluster_options()) for _ in range(2 * _PRIMARIES)]
        self.url = "redis+cluster://" + ",".join(f"{HOST}:{one.port}" for one in self.nodes)
        first, *others = self.nodes
        share = SLOTS // _PRIMARIES
        for number, node in enumerate(self.nodes[:_PRIMARIES]):
            last = SLOTS - 1 if number == _PRIMARIES - 1 else (number + 1) * share - 1
            ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for number, node in enumerate(self.nodes, 1):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number)
        bus_port = int(ask(first, "CONFIG", "GET", "cluster-port")[1])
        for node in others:
            ask(node, "CLUSTER", "MEET", HOST, first.port, bus_port)
        wait_until(self._all_know_all, within_s=30, every_s=0.05, what="the servers know another")
        for primary, replica in zip(self.nodes, self.nodes[_PRIMARIES:], strict=False):
            ask(replica, "CLUSTER", "REPLICATE", self.id_of(primary))
        wait_until(self._replicas_follow, within_s=30, every_s=0.05, what="the replicas follow")
        wait_until(self.is_whole, within_s=30, every_s=0.05, what="the cluster is whole")

    def id_of(self, node: RedisServer) -> str:
        return str(ask(node, "CLUSTER", "MYID"))

    def primary_of(self, slot: int) -> RedisServer:
        """Return who holds a slot, as a server that is alive sees it."""
        for teller in self._alive():
            for first, last, (_, port, *_), *_ in ask(teller, "CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody holds slot {slot}")

    def other_primary(self, than: RedisServer) -> RedisServer:
        return next(node for node in self._alive() if node is not than and _is_primary(node))

    def is_whole(self) -> bool:
        """Tell whether all slots are served and every replica has what its primary has."""
        for node in self._alive():
            if "cluster_state:ok" not in ask(node, "CLUSTER", "INFO", as_text=True):
                return False
            replication = ask(node, "INFO", "replication", as_text=True)
            if "role:slave" in replication and "master_link_status:up" not in replication:
                return False
        return True

    def move_slot(self, slot: int, target: RedisServer, *, at_once: bool) -> Iterator[int]:
        """Move a slot; yields after each key that moved, or while all do."""
        source = self.primary_of(slot)
        if at_once:  # Valkey 9's own
            what = ("SLOTSRANGE", slot, slot, "NODE", self.id_of(target))
            ask(source, "CLUSTER", "MIGRATESLOTS", *what)
            for moved in itertools.takewhile(
                lambda _: self.primary_of(slot) is source, itertools.count(1)
            ):
                yield moved
            return
        # as `redis-cli --cluster reshard` does
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        moved = 0
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            for key in keys:
                ask(source, "MIGRATE", HOST, target.port, key, 0, 5000)
                moved += 1
                yield moved
        for node in (target, source, *self._alive()):
            with suppress(RedisError):  # replicas refuse; they learn it from the others
                ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def make_whole(self) -> None:
        """Start what a test killed, and forget all data."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        wait_until(self.is_whole, within_s=30, every_s=0.05, what="the cluster is whole")
        for node in self.nodes:
            if _is_primary(node):
                ask(node, "FLUSHALL")

    def destroy(self) -> None:
        for node in self.nodes:
            node.destroy()

    def _alive(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.is_running]

    def _replicas_follow(self) -> bool:
        return not any(_is_primary(node) for node in self.nodes[_PRIMARIES:])

    def _all_know_all(self) -> bool:
        return all(
            ask(node, "CLUSTER", "INFO", as_text=True).count(
                f"cluster_known_nodes:{len(self.nodes)}"
            )
            and "handshake" not in ask(node, "CLUSTER", "NODES", as_text=True)
            for node in self.nodes
        )


class Sentinels:
    """A primary with two replicas, and three Sentinels."""

    def __init__(self) -> None:
        first = RedisServer("--repl-diskless-sync-delay", "0")
        follow = ("--replicaof", HOST, str(first.port), "--repl-diskless-sync-delay", "0")
        self.nodes = [first, *(RedisServer(*follow) for _ in range(2))]
        wait_until(self._replicas_follow, within_s=30, what="the replicas follow")
        self.sentinels = [_Sentinel(first.port) for _ in range(3)]
        hosts = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}/0"
        self.queue_url = f"redis+sentinel://{hosts}/{SERVICE}/1"
        wait_until(self._know_all, within_s=30, every_s=0.05, what="the Sentinels know all")

    @property
    def primary(self) -> RedisServer:
        """Whom the Sentinels call the primary."""
        address = ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(node for node in self.nodes if node.port == int(address[1]))

    def destroy(self) -> None:
        for server in (*self.sentinels, *self.nodes):
            server.destroy()

    def _replicas_follow(self) -> bool:
        return all(
            "master_link_status:up" in ask(node, "INFO", "replication", as_text=True)
            for node in self.nodes[1:]
        )

    def _know_all(self) -> bool:
        for sentinel in self.sentinels:
            flat = ask(sentinel, "SENTINEL", "MASTER", SERVICE)
            state = dict(zip(flat[::2], flat[1::2], strict=True))
            if (state["num-other-sentinels"], state["num-slaves"]) != ("2", "2"):
                return False
        return True


class _Sentinel(_Server):
    """One Sentinel; it keeps what it learns in its configuration file."""

    def __init__(self, primary_port: int) -> None:
        self.port = choose_port(None)
        folder = Path(tempfile.mkdtemp(prefix="timer-sentinel-"))
        config = folder / "sentinel.conf"
        config.write_text(
            f"bind {HOST}\nport {self.port}\ndir {folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary_port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        binary = OTHER_REDIS_BINARY or str(find_redis(folder, None).path)
        argv = (binary, str(config), "--sentinel")
        super().__init__(ChildSpec("sentinel", argv, ready=self._answers), folder)
        self.start()

    def _answers(self) -> bool:
        with suppress(RedisError):
            return ask(self, "PING") == "PONG"
        return False


def ask(node: RedisServer | _Sentinel, *command: Any, as_text: bool = False) -> Any:
    """Send one command to one server and return its bare reply."""
    options = {"decode_responses": True, "socket_timeout": 5, "retry": None, "protocol": 2}
    with Redis(port=node.port, **options) as client:
        client.response_callbacks.clear()
        reply = client.execute_command(*command)
    return str(reply) if as_text else reply


def _cluster_options() -> tuple[str, ...]:
    options = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-port": str(choose_port(None)),
        "cluster-replica-validity-factor": "0",
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": "0",
    }
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))


def _is_primary(node: RedisServer) -> bool:
    return "role:master" in ask(node, "INFO", "replication", as_text=True)
