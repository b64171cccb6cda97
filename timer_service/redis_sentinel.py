"""Connections to whichever server Sentinels call the primary at present.

Made by `redis_clients`. redis-py's own pool for Sentinels neither waits for a free connection nor
survives being described to another process, which RQ's scheduler does with a pool's options. So the
connection itself asks, each time it connects; any pool will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.sentinel import Sentinel

from timer_service.redis_urls import Address


class PrimaryFinder:
    """Knows one service's primary; ``address`` is where it was found last."""

    def __init__(self, service: str, sentinels: Sequence[Address], options: dict[str, Any]) -> None:
        self._given = (service, tuple(sentinels), options)
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(sentinels), sentinel_kwargs=options
        )
        self.address: Address | None = None

    def __reduce__(self) -> tuple[type[PrimaryFinder], tuple[Any, ...]]:
        """Be made anew in another process: sockets and locks stay behind."""
        return (PrimaryFinder, self._given)

    def __eq__(self, other: object) -> bool:
        """Tell whether the other asks the same: RQ compares connections by their options."""
        return isinstance(other, PrimaryFinder) and self._given == other._given

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._given[:2])

    def __repr__(self) -> str:
        """Name the service; the rest may hold a password."""
        return f"PrimaryFinder({self._given[0]!r})"

    def find(self) -> Address:
        """Ask the Sentinels, the one that answered last first.

        Raises:
            redis.exceptions.ConnectionError: none knows a primary that is up.
        """
        host, port = self._sentinel.discover_master(  # type: ignore[no-untyped-call]
            self._given[0]
        )
        self.address = (str(host), int(port))
        return self.address

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        self._sentinel.close()


class SentinelConnection(Connection):
    """A connection to the primary of the moment; one to a former primary is given up."""

    def __init__(self, *, finder: PrimaryFinder, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._finder = finder
        self._address: Address | None = None

    def _connect(self) -> Any:
        self._address = self.host, self.port = self._finder.find()
        return super()._connect()  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send, after connecting anew where the primary has changed since it was connected to."""
        if self._sock is not None and self._address != self._finder.address:
            self.disconnect()
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read, and give the connection up where it leads to a primary that was demoted."""
        try:
            return super().read_response(*args, **options)
        except ReadOnlyError:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError("this server is the primary no more") from None


class EncryptedSentinelConnection(SentinelConnection, SSLConnection):
    """The same with TLS."""
