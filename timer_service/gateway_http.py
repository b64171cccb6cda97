"""Carries one request to a gateway: one POST, never repeated, never redirected.

Called by `message_sender`. What matters is where it broke: before anything was sent, or afterwards.
Gateways may be anywhere the connection's operator says, private networks included.
"""

from __future__ import annotations

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
        headers, timeout = dict(request.headers), self._client.timeout
        if isinstance(request.body, FileBody):
            headers["Content-Length"] = str(request.body.length)
            timeout = httpx2.Timeout(FILE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            with self._client.stream(
                "POST",
                request.url,
                headers=headers,
                content=request.body,
                timeout=timeout,
            ) as response:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        break
                headers = {name.lower(): value for name, value in response.headers.items()}
                return GatewayAnswer(response.status_code, headers, bytes(body[:LARGEST_ANSWER]))
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
