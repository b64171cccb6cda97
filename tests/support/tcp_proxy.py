"""A TCP proxy between two processes that does to them what a network does, switchable at run time.

Tests and benchmarks put it before Redis, Postgres or the web server::

    with TcpProxy.before(redis_url) as proxy:
        client = Redis.from_url(proxy.url(redis_url))
        proxy.blackhole()
        ...
        proxy.pass_all()

It lives in a thread of its own with its own event loop. Every switch is a plain call that holds
when it returns, for the connections there are and for those to come. What is held back while a way
is silent is passed on when the way opens again, as TCP does after a partition; nothing is ever
passed on in another order. It needs no privileges.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")

_HOST = "127.0.0.1"
_CHUNK = 65_536
_SWITCH_WITHIN_S = 5.0
_DEFAULT_PORTS = {"redis": 6379, "postgresql": 5432, "postgres": 5432, "http": 80}


class Way(Enum):
    """Which way the bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"
    BOTH = "both"

    @property
    def ways(self) -> tuple[Way, ...]:
        """The single ways it stands for."""
        return (Way.TO_SERVER, Way.TO_CLIENT) if self is Way.BOTH else (self,)


@dataclass(frozen=True, slots=True)
class _Conditions:
    """What one way does with its bytes; each switch makes a new one, so that it can be told."""

    is_silent: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    passes_bytes: int | None = None


@dataclass(eq=False, slots=True)
class _Connection:
    client: socket.socket
    server: socket.socket | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    passed: dict[Way, int] = field(default_factory=dict)
    loses_its_answer: bool = False
    is_lost: bool = False

    def ends(self, way: Way) -> tuple[socket.socket, socket.socket]:
        """Return where bytes of this way come from and where they go."""
        assert self.server is not None
        return (self.client, self.server) if way is Way.TO_SERVER else (self.server, self.client)

    def close(self, *, reset: bool = False) -> None:
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for end in (self.client, self.server):
            if end is None:
                continue
            if reset:
                with suppress(OSError):  # closed already
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # A closed descriptor that the loop still watches would be watched under its next owner.
            loop = asyncio.get_running_loop()
            if end.fileno() >= 0:
                loop.remove_reader(end)
                loop.remove_writer(end)
            end.close()


class TcpProxy:
    """One listening port before one server.

    Switches: ``pass_all``, ``delay``, ``blackhole``, ``reset``, ``half_close``, ``drip``,
    ``truncate``, ``lose_answer``, ``lose_connections``. Each ends what the one before it set.
    """

    def __init__(self, server_host: str, server_port: int) -> None:
        self._server = (server_host, server_port)
        self._listener = socket.create_server((_HOST, 0), backlog=512)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.lost_answers = 0
        self._conditions = {way: _Conditions() for way in Way.BOTH.ways}
        self._resets_new = False
        self._loses_after: bytes | None = None
        self._connections: set[_Connection] = set()
        self._random = random.Random(self.port)
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._thread.start()

    @classmethod
    def before(cls, url: str) -> TcpProxy:
        """Make a proxy before the server that a URL names."""
        parts = urlsplit(url)
        return cls(parts.hostname or _HOST, parts.port or _DEFAULT_PORTS[parts.scheme])

    def url(self, url: str) -> str:
        """Return the same URL by way of this proxy."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{_HOST}:{self.port}"))

    @property
    def open_connections(self) -> int:
        """How many connections it holds now."""
        return len(self._connections)

    def pass_all(self) -> None:
        """Pass everything on at once; what was held back goes first."""
        self._switch()

    def delay(self, delay_s: float, jitter_s: float = 0.0, way: Way = Way.BOTH) -> None:
        """Hold what comes for a while, each piece up to ``jitter_s`` longer."""
        self._switch(way, _Conditions(delay_s=delay_s, jitter_s=jitter_s))

    def blackhole(self, way: Way = Way.BOTH) -> None:
        """Accept, and pass nothing on: the other side is there and says nothing."""
        self._switch(way, _Conditions(is_silent=True))

    def drip(self, bytes_per_s: float = 1.0, way: Way = Way.BOTH) -> None:
        """Pass on one byte at a time."""
        self._switch(way, _Conditions(bytes_per_s=bytes_per_s))

    def truncate(self, after_bytes: int, way: Way = Way.TO_CLIENT) -> None:
        """Let each connection pass this many more bytes one way, then close it."""
        self._switch(way, _Conditions(passes_bytes=after_bytes))

    def reset(self, *, new: bool = True) -> None:
        """Reset every connection (RST); with ``new`` also each that comes, until switched."""
        self._switch(resets_new=new)
        self._call(self._reset_all())

    def half_close(self, way: Way = Way.TO_CLIENT) -> None:
        """Say "no more" (FIN) one way on every connection; the other way goes on."""
        self._switch()
        self._call(self._half_close(way))

    def lose_answer(self, to: bytes) -> None:
        """Let the next request that holds these bytes reach the server, and lose its answer.

        The client's connection is reset when the server answers; ``lost_answers`` counts it, and
        everything passes again.
        """
        self._switch(loses_after=to)

    def lose_connections(self) -> None:
        """Pass on nothing more of the connections there are, for good; new ones pass.

        So it is where a firewall forgot them during a partition, or their server was replaced.
        """
        for connection in self._connections:
            connection.is_lost = True
        self._switch()

    def close(self) -> None:
        """Reset what is open and stop listening."""
        if self._loop.is_closed():
            return
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SWITCH_WITHIN_S)

    def _switch(
        self,
        way: Way = Way.BOTH,
        conditions: _Conditions | None = None,
        *,
        resets_new: bool = False,
        loses_after: bytes | None = None,
    ) -> None:
        async def switch() -> None:
            self._conditions = {one: _Conditions() for one in Way.BOTH.ways}
            if conditions is not None:
                self._conditions.update(dict.fromkeys(way.ways, conditions))
            self._resets_new = resets_new
            self._loses_after = loses_after
            for connection in self._connections:
                connection.passed = dict.fromkeys(Way.BOTH.ways, 0)
            self._changed.set()
            self._changed = asyncio.Event()

        self._call(switch())

    async def _reset_all(self) -> None:
        for connection in list(self._connections):
            self._drop(connection, reset=True)

    async def _half_close(self, way: Way) -> None:
        for connection in self._connections:
            for one in way.ways:
                if connection.server is not None:
                    with suppress(OSError):  # that side is gone already
                        connection.ends(one)[1].shutdown(socket.SHUT_WR)

    async def _stop(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        tasks = [task for connection in self._connections for task in connection.tasks]
        await self._reset_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, connection: _Connection, *, reset: bool = False) -> None:
        self._connections.discard(connection)
        connection.close(reset=reset)

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            connection = _Connection(client, passed=dict.fromkeys(Way.BOTH.ways, 0))
            self._connections.add(connection)
            if self._resets_new:
                self._drop(connection, reset=True)
            else:
                connection.tasks.append(self._loop.create_task(self._serve(connection)))

    async def _serve(self, connection: _Connection) -> None:
        await self._until_heard(connection, Way.TO_SERVER)
        server = socket.socket()
        connection.server = server
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(server, self._server)
        except OSError:
            self._drop(connection, reset=True)
            return
        pumps = [self._loop.create_task(self._pump(connection, way)) for way in Way.BOTH.ways]
        connection.tasks.extend(pumps)
        await asyncio.gather(*pumps, return_exceptions=True)
        self._drop(connection)

    async def _pump(self, connection: _Connection, way: Way) -> None:
        source, target = connection.ends(way)
        try:
            while data := await self._loop.sock_recv(source, _CHUNK):
                await self._forward(connection, way, target, data)
            await self._until_heard(connection, way)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection, reset=True)

    async def _forward(
        self, connection: _Connection, way: Way, target: socket.socket, data: bytes
    ) -> None:
        if way is Way.TO_CLIENT and connection.loses_its_answer:
            self.lost_answers += 1
            self._drop(connection, reset=True)
            raise ConnectionResetError
        if way is Way.TO_SERVER and self._loses_after is not None and self._loses_after in data:
            self._loses_after = None
            connection.loses_its_answer = True
        while data:
            await self._until_heard(connection, way)
            now = self._conditions[way]
            if now.delay_s or now.jitter_s:
                await asyncio.sleep(now.delay_s + self._random.uniform(0, now.jitter_s))
                await self._until_heard(connection, way)
            piece = data if now.bytes_per_s is None else data[:1]
            if now.passes_bytes is not None:
                piece = piece[: max(0, now.passes_bytes - connection.passed[way])]
                if not piece:
                    self._drop(connection)
                    raise ConnectionResetError
            await self._loop.sock_sendall(target, piece)
            connection.passed[way] += len(piece)
            data = data[len(piece) :]
            if now.bytes_per_s is not None:
                await self._unless_changed(1 / now.bytes_per_s)

    async def _until_heard(self, connection: _Connection, way: Way) -> None:
        while connection.is_lost or self._conditions[way].is_silent:
            await self._changed.wait()

    async def _unless_changed(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
