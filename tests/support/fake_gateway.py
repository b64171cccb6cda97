"""A gateway's HTTP API: takes messages as Meta, Twilio, WAHA or Evolution do, and as it is told.

    with FakeGateway() as gateway:
        gateway.will(says("meta/api_error_400_130429_rate.json", 400), takes_and_hangs())
        …  # the connection's base_url is gateway.url
        assert gateway.requests[0].path == "/100000000000001/messages"

Replies are taken in order; after the last one every message is taken, under an id of its own.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.support.fake_model import Reply

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


class FakeGateway:
    """The server. Open it with ``with``; it listens on a free loopback port."""

    def __init__(self) -> None:
        self.requests: list[Taken] = []
        self._replies: deque[Reply] = deque()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gateway = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """What a connection has as ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def ids(self) -> list[str]:
        """The ids messages were taken under."""
        return [one.message_id for one in self.requests]

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so, in this order."""
        self._replies.extend(replies)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        taken = Taken(path, headers, body, f"fake-{len(self.requests) + 1}")
        self.requests.append(taken)
        return self._replies.popleft() if self._replies else _yes(path, taken.message_id)

    def wait_for_close(self) -> None:
        self._closing.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _yes(path: str, message_id: str) -> Reply:
    """Take a message in the words of the gateway whose address was called."""
    status, document = 201, {"key": {"id": message_id, "fromMe": True}, "status": "PENDING"}
    if path.endswith("/messages"):
        status, document = 200, {"messages": [{"id": message_id}]}
    elif path.endswith("/Messages.json"):
        document = {"sid": message_id, "status": "queued"}
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    gateway: FakeGateway
    daemon_threads = False  # closing waits for every handler, so none outlives its test


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.gateway.take(self.path, headers, body)
        if reply.kind == "hang":
            self.server.gateway.wait_for_close()
        elif reply.kind == "answer":
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a test's output is its failures."""
