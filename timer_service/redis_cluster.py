"""A Redis Cluster as the live keys use it: each command goes to the primary of its key's slot.

Made by `redis_clients`; used by `live_chats` and `primaries`. redis-py's RedisCluster does not fit
(source: its 8.1 code, November 2026): it connects when it is made, refuses EVALSHA in a pipeline,
sleeps 0.25 s where the cluster is down, and looks at the whole topology again, connecting anew to
every server, within the call that met a fault. Our keys are few in kind and every script is safe to
repeat, so little is needed: a map of slots, redis-py's own pools, and one redirection.

Nothing here retries. A primary that did not answer in time is left alone for a moment, so that it
costs its own shards' callers time once, and other shards' callers none.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from timer_service.clock import monotonic_s
from timer_service.redis_urls import Address

SLOTS = 16384
LOOK_AGAIN_AFTER_S = 0.1
"""At most so often is asked where the slots are, however many calls go astray."""
SILENT_FOR_S = 1.0
"""For so long a primary that gave no answer is not asked again, and then by one caller first."""


class Command(NamedTuple):
    """One command, and a key that says where it goes."""

    key: str
    args: Sequence[Any]


def slot_of(key: str) -> int:
    """Return the slot of a key; of its tag, where it has one."""
    slot: int = key_slot(key.encode())
    return slot


class ClusterClient:
    """Sends commands to the primaries of a cluster, and follows its slots as they move.

    ``make_client`` makes the client of one server. ``give_up_s`` bounds the search for a server
    that knows the slots. Safe to be used by many threads.
    """

    def __init__(
        self, seeds: Iterable[Address], make_client: Callable[[Address], Redis], *, give_up_s: float
    ) -> None:
        self._seeds = tuple(seeds)
        self._make_client = make_client
        self._give_up_s = give_up_s
        self._clients: dict[Address, Redis] = {}
        self._owners: list[Address | None] = []
        self._primaries: tuple[Address, ...] = ()
        self._servers: tuple[Address, ...] = ()
        self._told: object = None
        self._silent_until_s: dict[Address, float] = {}
        self.changes = 0
        """Rises whenever a slot is found elsewhere: what was derived from the map is then old."""
        self._is_stale = True
        self._looked_at_s = float("-inf")
        self._looking = Lock()

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in the order given, in one round trip to each primary they concern.

        A fault stands where its answer would: one primary's absence fails its own commands only.

        Raises:
            redis.exceptions.ConnectionError: no server tells where the slots are.
        """
        self._look_if_stale()
        owners = [self._owners[slot_of(command.key)] for command in commands]
        replies = self._spread(commands, dict(enumerate(owners)))
        redirected = {
            at: self._follow(error, owners[at])
            for at, error in replies.items()
            if isinstance(error, AskError)
        }
        if redirected:
            asking = {at for at in redirected if not isinstance(replies[at], MovedError)}
            replies |= self._spread(commands, redirected, asking)
        return [replies[at] for at in range(len(commands))]

    def look(self) -> None:
        """Ask where the slots are.

        Raises:
            redis.exceptions.ConnectionError: no server answered; what was known stays.
        """
        with self._looking:
            self._look()

    @property
    def primaries(self) -> tuple[Address, ...]:
        """Where the primaries are, as far as was looked."""
        return self._primaries

    def owner_of(self, key: str) -> Address | None:
        """Return where a key is; None where no server holds its slot, or none was asked yet."""
        return self._owners[slot_of(key)] if self._owners else None

    def tag_at(self, address: Address) -> str | None:
        """Return a hash tag whose keys are at a server; None where it holds no slot."""
        tags = (str(number) for number in range(SLOTS))
        return next((tag for tag in tags if self.owner_of(f"{{{tag}}}") == address), None)

    def client_of(self, address: Address) -> Redis:
        """Return the client of one server."""
        client = self._clients.get(address)
        if client is None:
            # Of two made at once one is used; the other has not connected.
            client = self._clients.setdefault(address, self._make_client(address))
        return client

    def close(self) -> None:
        """Close every connection."""
        for client in list(self._clients.values()):
            client.close()

    def _spread(
        self,
        commands: Sequence[Command],
        owners: Mapping[int, Address | None],
        asking: Iterable[int] = (),
    ) -> dict[int, Any]:
        """Send each command to where ``owners`` says, and return the answers by position."""
        parts: dict[tuple[Address | None, bool], list[int]] = defaultdict(list)
        for at, owner in owners.items():
            parts[owner, at in asking].append(at)
        replies: dict[int, Any] = {}
        for (owner, is_asking), positions in parts.items():
            if owner is None:
                self._is_stale = True
                answers: list[Any] = [RedisConnectionError("no server of the cluster holds it")]
                answers *= len(positions)
            else:
                answers = self._ask(owner, [commands[at].args for at in positions], is_asking)
            replies.update(zip(positions, answers, strict=True))
        return replies

    def _ask(
        self, address: Address, commands: Sequence[Sequence[Any]], is_asking: bool
    ) -> list[Any]:
        silent_until_s = self._silent_until_s.get(address)
        if silent_until_s is not None:
            now_s = monotonic_s()
            if now_s < silent_until_s:
                silence = RedisConnectionError(f"{_name(address)} gave no answer a moment ago")
                return [silence] * len(commands)
            self._silent_until_s[address] = now_s + SILENT_FOR_S
        try:
            replies = send_commands(self.client_of(address), commands, is_asking=is_asking)
        except (RedisError, OSError) as error:
            self._is_stale = True
            if isinstance(error, RedisTimeoutError):
                self._silent_until_s[address] = monotonic_s() + SILENT_FOR_S
            return [error] * len(commands)
        if silent_until_s is not None:
            self._silent_until_s.pop(address, None)
        if any(isinstance(reply, ClusterDownError) for reply in replies):
            self._is_stale = True
        return replies

    def _follow(self, error: AskError, asked: Address | None) -> Address:
        """Return where a command is to be sent instead; one that moved for good is remembered."""
        host = error.host or (asked[0] if asked else "")
        address = (host, error.port)
        if isinstance(error, MovedError):
            self._owners[error.slot_id] = address
            self._is_stale = True
            self.changes += 1
        return address

    def _look_if_stale(self) -> None:
        if not self._is_stale:
            return
        if self._owners:
            # What is known serves until somebody has looked.
            is_early = monotonic_s() - self._looked_at_s < LOOK_AGAIN_AFTER_S
            if is_early or not self._looking.acquire(blocking=False):
                return
        elif not self._looking.acquire(timeout=self._give_up_s):
            raise RedisConnectionError("no server of the cluster has answered yet")
        try:
            if self._is_stale and monotonic_s() - self._looked_at_s >= LOOK_AGAIN_AFTER_S:
                self._look()
        except RedisConnectionError:
            if not self._owners:
                raise
        finally:
            self._looking.release()
        if not self._owners:
            raise RedisConnectionError("no server of the cluster answered a moment ago")

    def _look(self) -> None:
        """Ask one server after the other; `_looking` is held."""
        give_up_at_s = monotonic_s() + self._give_up_s
        candidates = list(dict.fromkeys((*self._servers, *self._seeds)))
        random.shuffle(candidates)  # a server cut off from the others tells what was
        candidates.sort(key=lambda one: self._silent_until_s.get(one, 0.0))
        cause: Exception | None = None
        try:
            for address in candidates:
                if monotonic_s() >= give_up_at_s:
                    break
                try:
                    told = _execute(self.client_of(address), ("CLUSTER", "SLOTS"))
                except (RedisError, OSError) as error:
                    cause = error
                    if isinstance(error, RedisTimeoutError):
                        self._silent_until_s[address] = monotonic_s() + SILENT_FOR_S
                    continue
                self._silent_until_s.pop(address, None)
                if told:
                    self._learn(told, address)
                    return
        finally:
            self._looked_at_s = monotonic_s()
        raise RedisConnectionError(
            f"none of {len(candidates)} servers of the cluster tells where its slots are"
        ) from cause

    def _learn(self, told: Sequence[Sequence[Any]], teller: Address) -> None:
        """Take over a reply to CLUSTER SLOTS: ``[[first, last, [host, port, …], replica, …], …]``.

        An empty host is the one that was asked.
        """
        self._is_stale = False
        if told == self._told and None not in self._owners:
            return
        owners: list[Address | None] = [None] * SLOTS
        servers: dict[Address, None] = {}
        primaries: dict[Address, None] = {}
        for first, last, *nodes in told:
            addresses = [(_text(node[0]) or teller[0], int(node[1])) for node in nodes]
            servers.update(dict.fromkeys(addresses))
            primaries[addresses[0]] = None
            owners[int(first) : int(last) + 1] = [addresses[0]] * (int(last) - int(first) + 1)
        self._owners, self._primaries, self._servers = owners, tuple(primaries), tuple(servers)
        self._told = told
        self.changes += 1
        for address in set(self._clients) - set(servers) - set(self._seeds):
            del self._clients[address]


def send_commands(
    client: Redis, commands: Sequence[Sequence[Any]], *, is_asking: bool = False
) -> list[Any]:
    """Send commands to one server in one round trip; a refusal stands where its answer would.

    ``is_asking`` asks for keys of a slot that is on its way there.

    Raises:
        redis.exceptions.RedisError, OSError: the server gave no answer.
    """
    if len(commands) == 1 and not is_asking:
        try:
            return [_execute(client, commands[0])]
        except ResponseError as refused:
            return [refused]
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            if is_asking:
                _execute(pipe, ("ASKING",))
            _execute(pipe, command)
        replies: list[Any] = pipe.execute(raise_on_error=False)
    return replies[1::2] if is_asking else replies


def _execute(client: Redis, command: Sequence[Any]) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value or "")
    return "" if text == "?" else text
