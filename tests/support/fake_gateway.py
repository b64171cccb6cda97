"""The demo's gateway server, told what to answer and asked what it was given.

    with FakeGateway() as gateway:
        gateway.will(says("meta/api_error_400_130429_rate.json", 400), takes_and_hangs())
        …  # the connection's base_url is gateway.url
        assert gateway.requests[0].path == "/100000000000001/messages"

Replies are taken in order; after the last one every message is taken, under an id of its own.
Once it serves a number, what it takes is told back as ``course`` says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from timer_service.demo.gateway import Sent
from timer_service.demo.gateway_server import GatewayServer, Step
from timer_service.demo.loopback_server import Reply, Request

_SAMPLES = Path(__file__).parents[1] / "contract" / "samples"


@dataclass(frozen=True)
class Taken:
    """A request as it arrived, header names in lower case, and the id it was answered with."""

    path: str
    headers: dict[str, str]
    body: bytes
    message_id: str

    @property
    def document(self) -> Any:
        if self.headers["content-type"] == "application/json":
            return json.loads(self.body)
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


def says(sample: str, status: int, **headers: str) -> Reply:
    """Answer with one of the gateways' own answers; ``retry_after="7"`` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, (_SAMPLES / sample).read_bytes(), named)


def takes_and_hangs() -> Reply:
    """Take the message and never answer, until the gateway is closed."""
    return Reply(kind="hang")


def takes_and_breaks() -> Reply:
    """Take the message and close the connection."""
    return Reply(kind="break")


class FakeGateway(GatewayServer):
    """The server. Open it with ``with``; it listens on a free loopback port."""

    def __init__(self, course: Sequence[Step] = ()) -> None:
        super().__init__(course=course)
        self.requests: list[Taken] = []

    @property
    def ids(self) -> list[str]:
        """The ids messages were taken under."""
        return [one.message_id for one in self.requests]

    def name(self, sent: Sent) -> str:
        del sent
        return f"fake-{len(self.requests) + 1}"

    def note(self, request: Request, sent: Sent | None) -> None:
        message_id = sent.message_id if sent else f"fake-{len(self.requests) + 1}"
        taken = Taken(request.path, dict(request.headers), request.body, message_id)
        self.requests.append(taken)
