"""A small HTTP server in a thread of this process, that answers as it is told.

The fake gateway is one, and so are the servers of the tests. It listens on a loopback port only.
Not for the network: it trusts whoever calls it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_LOOK_EVERY_S = 0.01
"""How soon the server notices that it is to stop."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived, header names in lower case, the path with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. ``kind`` is ``answer``, or one of the ways not to.

    ``hang`` says nothing until the server is closed, ``break`` closes the connection, ``reset``
    drops it with a TCP reset.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "answer"


class LoopbackServer:
    """The server. Open it with ``with``; it listens on a free port unless one is named.

    Replies given to ``will`` are taken in order, one for each request that may have one; what is
    not told so is answered by ``answer``.
    """

    def __init__(self, port: int = 0) -> None:
        self._told: deque[Reply] = deque()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_EVERY_S,))

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so, in this order."""
        self._told.extend(replies)

    def told(self) -> Reply | None:
        """Take the next reply that was given to ``will``."""
        try:
            return self._told.popleft()
        except IndexError:
            return None

    def answer(self, request: Request) -> Reply:
        """Answer a request; called in a thread of its own."""
        raise NotImplementedError

    def wait_for_close(self) -> None:
        """Wait until the server is closed."""
        self._closing.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    owner: LoopbackServer
    daemon_threads = False  # closing waits for every handler, so none outlives its caller


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.owner.answer(Request(self.command, self.path, headers, body))
        match reply.kind:
            case "hang":
                self.server.owner.wait_for_close()
            case "reset":
                # Lingering for zero seconds turns the close into a reset.
                option = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                self.connection.close()
            case "answer":
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: whoever runs it says what matters."""
