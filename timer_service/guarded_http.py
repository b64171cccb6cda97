"""Asks for a file over HTTP where somebody else's word says it is, and trusts nothing of it.

Called by `media_fetch`. A name is resolved once, and the connection goes to an address that was
looked at: nothing can change in between. All of an exchange ends by one deadline, however slowly it
drips. No proxy, cookie, ``.netrc`` or redirect is followed by itself, nothing is decompressed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from socket import IPPROTO_TCP, SOCK_STREAM, gaierror, getaddrinfo
from typing import Any

import httpcore2
import httpx2

from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError
from timer_service.public_addresses import is_public

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 15.0
"""How long the other side may say nothing."""
CHUNK_BYTES = 64 * 1024


class NotAllowed(TimerServiceError):
    """The address is not one of the public internet."""


class NotReached(TimerServiceError):
    """Nobody answered there."""

    retryable = True


class TooSlow(TimerServiceError):
    """It was not over in time."""

    retryable = True


class BrokenOff(TimerServiceError):
    """What was answered is no whole answer of HTTP."""

    retryable = True


Resolve = Callable[[str, int], list[str]]
"""From a name and a port to its addresses; none where it has none."""


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for a name's addresses."""
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM, proto=IPPROTO_TCP)
    except (gaierror, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class GuardedHttp:
    """Makes requests; the system's certificates, names and network where none are given."""

    def __init__(
        self,
        certificates: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        network: httpcore2.NetworkBackend | None = None,
    ) -> None:
        self._certificates = certificates
        self._resolve = resolve
        self._network = network or httpcore2.SyncBackend()

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        may_be_private: bool,
        ends_at_s: float,
    ) -> Iterator[httpx2.Response]:
        """Give the answer's head; read its body with `chunks` while the block lasts.

        ``ends_at_s`` is by `clock.monotonic_s`. ``may_be_private`` is for hosts that an operator
        named: any other must be public by every address it has.

        Raises:
            NotAllowed, NotReached, TooSlow, BrokenOff: also while the body is read.
        """
        backend = _Backend(self._network, self._resolve, ends_at_s, may_be_private=may_be_private)
        transport = _Transport(self._certificates or _system_certificates(), backend)
        timeouts = httpx2.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        with (
            _told(),
            httpx2.Client(transport=transport, timeout=timeouts, trust_env=False) as client,
            client.stream(
                method,
                url,
                headers={**headers, "Accept-Encoding": "identity"},
                content=body,
                follow_redirects=False,
            ) as response,
        ):
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise BrokenOff("expected the file as it is, found it compressed")
            yield response


def chunks(response: httpx2.Response) -> Iterator[bytes]:
    """Give the body in parts of up to 64 kB."""
    return response.iter_raw(CHUNK_BYTES)


@contextmanager
def _told() -> Iterator[None]:
    # Not chained: the client's errors hold the request, and with it what it carries.
    try:
        yield
    except httpx2.TimeoutException as error:
        if isinstance(error, httpx2.ConnectTimeout):
            raise NotReached("nobody answered in time") from None
        raise TooSlow("it was not over in time") from None
    except (httpx2.ConnectError, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise NotReached(f"nobody was reached: {type(error).__name__}") from None
    except httpx2.HTTPError as error:
        raise BrokenOff(f"no whole answer: {type(error).__name__}") from None


@lru_cache(maxsize=1)
def _system_certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


class _Transport(httpx2.HTTPTransport):
    """httpx's own, on connections that `_Backend` makes, each for one exchange."""

    def __init__(self, certificates: ssl.SSLContext, backend: httpcore2.NetworkBackend) -> None:
        super().__init__(verify=certificates, trust_env=False)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=certificates, network_backend=backend, max_keepalive_connections=0
        )


class _Backend(httpcore2.NetworkBackend):
    """Connects to addresses that were looked at, and ends everything by one deadline."""

    def __init__(
        self,
        plain: httpcore2.NetworkBackend,
        resolve: Resolve,
        ends_at_s: float,
        *,
        may_be_private: bool,
    ) -> None:
        self._plain = plain
        self._resolve = resolve
        self._ends_at_s = ends_at_s
        self._may_be_private = may_be_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        found = self._resolve(host, port)
        if not self._may_be_private and not all(map(is_public, found)):
            raise NotAllowed("expected an address of the public internet")
        for place, address in enumerate(found, start=1):
            within_s = _within(timeout, self._ends_at_s, httpcore2.ConnectTimeout)
            try:
                stream = self._plain.connect_tcp(
                    address, port, within_s, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if place == len(found):
                    raise
            else:
                return _Stream(stream, self._ends_at_s)
        raise httpcore2.ConnectError("the name has no address")


class _Stream(httpcore2.NetworkStream):
    """A connection on which nothing lasts beyond the deadline."""

    def __init__(self, plain: httpcore2.NetworkStream, ends_at_s: float) -> None:
        self._plain = plain
        self._ends_at_s = ends_at_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        within_s = _within(timeout, self._ends_at_s, httpcore2.ReadTimeout)
        return self._plain.read(max_bytes, within_s)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._plain.write(buffer, _within(timeout, self._ends_at_s, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        within_s = _within(timeout, self._ends_at_s, httpcore2.ConnectTimeout)
        plain = self._plain.start_tls(ssl_context, server_hostname, within_s)
        return _Stream(plain, self._ends_at_s)

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)


def _within(timeout_s: float | None, ends_at_s: float, late: type[Exception]) -> float:
    left_s = ends_at_s - monotonic_s()
    if left_s <= 0:
        raise late("the deadline has passed")
    return left_s if timeout_s is None else min(timeout_s, left_s)
