"""Webhooks at a steady rate, from callers who never try again: each failed delivery is remembered.

Half open a connection for each webhook, as most gateways do; the others keep theirs and use it
again until the server ends them, which they look for first, as the pools of HTTP clients do. A
caller who is kept waiting falls behind and catches up.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.support.callers import Line, customer
from tests.support.waiting import wait_until

SENDERS = 20
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Delivery:
    """One attempt. ``outcome``: the status, or how it failed."""

    message_id: str | None
    keeps: bool
    outcome: str
    took_s: float


class SteadyTraffic:
    """Delivers ``rate`` webhooks a second until the block ends."""

    def __init__(self, line: Line, *, rate: float) -> None:
        self._line = line
        address = urlsplit(str(line.business.caller.http.base_url))
        self._where = (address.hostname or "", address.port)
        self._every_s = SENDERS / rate
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)
        ]
        self.deliveries: list[Delivery] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.deliveries) > SENDERS, what="webhooks flow")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> list[str]:
        return [one.message_id for one in self.deliveries if one.outcome == "200"]

    def failed(self, *, keeps: bool) -> Counter[str]:
        """Count what was not answered 200, by how."""
        return Counter(
            one.outcome for one in self.deliveries if one.keeps is keeps and one.outcome != "200"
        )

    def took_s(self, share: float) -> float:
        """Return within which time that share of all were answered."""
        ordered = sorted(one.took_s for one in self.deliveries)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def _send(self, number: int) -> None:
        keeps = number % 2 == 0
        connection = self._connect()
        for _ in self._beats(number):
            webhook = self._line.webhook(customer(80_000 + number), "and another thing")
            if connection.sock is not None and is_ended(connection.sock):
                connection.close()
            began_s = time.monotonic()
            try:
                connection.request("POST", self._line.path, webhook.body, dict(webhook.headers))
                answer = connection.getresponse()
                answer.read()
                outcome = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
            took_s = time.monotonic() - began_s
            self.deliveries.append(Delivery(webhook.message_id, keeps, outcome, took_s))
            if not keeps:
                connection.close()  # http.client opens another by itself
        connection.close()

    def _beats(self, number: int) -> Iterator[None]:
        due_s = time.monotonic() + self._every_s * number / SENDERS
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            yield
            due_s += self._every_s

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._where
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)


def is_ended(sock: socket.socket) -> bool:
    """Tell whether the server ended a connection on which nothing is under way."""
    return bool(select.select([sock], [], [], 0)[0])
