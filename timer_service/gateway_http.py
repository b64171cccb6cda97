"""Carries one request to a gateway: never repeated, never redirected.

Called by `message_sender` and `gateway_talks`. What matters is where it broke: before anything
was sent, or afterwards. Gateways may be anywhere the connection's operator says, private networks
included, and are not trusted to come to an end: an answer has a size and may have a time.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
from rq.timeouts import JobTimeoutException

from timer_service.errors import TimerServiceError
from timer_service.providers.file_body import FileBody, FileGone
from timer_service.providers.sending import GatewayAnswer, GatewayRequest

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 15.0
FILE_TIMEOUT_S = 25.0
"""How long a gateway may be silent over a file: it passes it on to WhatsApp before it answers."""
LARGEST_ANSWER = 262_144

_NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
)


class NotReached(TimerServiceError):
    """Nothing was sent: the gateway cannot have taken it."""

    retryable = True


class NoAnswer(TimerServiceError):
    """Something was sent, and no whole answer came: the gateway may have taken it."""


class GatewayHttp:
    """The client of all gateways."""

    def __init__(self) -> None:
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # A connection the gateway closed while it lay unused cannot be told from a gateway that
            # died over the message, so each message has its own.
            limits=httpx2.Limits(max_keepalive_connections=0),
            follow_redirects=False,
        )

    def post(self, request: GatewayRequest) -> GatewayAnswer:
        """Send a request and read the answer, up to ``LARGEST_ANSWER`` bytes of it.

        Raises:
            NotReached: nothing was sent.
            NoAnswer: nobody knows what became of it.
        """
        return self.ask(request)

    def ask(
        self,
        request: GatewayRequest,
        *,
        within_s: float | None = None,
        largest: int = LARGEST_ANSWER,
    ) -> GatewayAnswer:
        """Send a request and read the answer, up to ``largest`` bytes of it.

        With ``within_s`` the connection is cut then, however slowly the gateway drips.

        Raises:
            NotReached: nothing was sent.
            NoAnswer: nobody knows what became of it.
        """
        headers, timeout = dict(request.headers), self._client.timeout
        if isinstance(request.body, FileBody):
            headers["Content-Length"] = str(request.body.length)
            timeout = _timeout(FILE_TIMEOUT_S)
        elif within_s is not None:
            timeout = _timeout(within_s)
        try:
            with (
                _cut_after(within_s) as cut,
                self._client.stream(
                    request.method,
                    request.url,
                    headers=headers,
                    content=request.body,
                    timeout=timeout,
                    extensions={"trace": cut.note},
                ) as response,
            ):
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > largest:
                        break
                if cut.is_done:  # or its end would pass for the answer's
                    raise NoAnswer("the gateway did not answer in time")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return GatewayAnswer(response.status_code, headers, bytes(body[:largest]))
        except FileGone as error:
            raise NotReached(str(error)) from None
        except _NOTHING_SENT as error:
            raise NotReached(f"the gateway was not reached: {type(error).__name__}") from None
        except (httpx2.HTTPError, JobTimeoutException) as error:
            # Not chained: an error of the client's holds the request, and so what it says.
            raise NoAnswer(f"the gateway did not answer: {type(error).__name__}") from None

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


def _timeout(within_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(within_s, connect=min(within_s, CONNECT_TIMEOUT_S))


class _Cut:
    """Cuts the connections that the client says it made, by httpcore's ``trace``.

    The client's own time-outs begin anew with each byte that comes.
    """

    def __init__(self) -> None:
        self.is_done = False
        self._streams: list[Any] = []

    def note(self, name: str, info: dict[str, Any]) -> None:
        """Keep a connection in mind."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._streams.append(info["return_value"])
            if self.is_done:
                self.cut()

    def cut(self) -> None:
        """End them all; whoever reads meets the end."""
        self.is_done = True
        for stream in list(self._streams):
            with suppress(OSError):
                # The socket's own: TLS's would change what the reading thread is in the midst of.
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


@contextmanager
def _cut_after(within_s: float | None) -> Iterator[_Cut]:
    cut = _Cut()
    if within_s is None:
        yield cut
        return
    timer = threading.Timer(within_s, cut.cut)
    timer.daemon = True
    timer.start()
    try:
        yield cut
    finally:
        timer.cancel()
