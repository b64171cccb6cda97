"""A host that gives files away, over HTTP or HTTPS, as honestly as it is told.

    with FakeFiles() as host:
        host.has("/api/files/a.jpg", File(b"..."))
        …  # the connection's base_url is host.url
        assert host.asked == ["/api/files/a.jpg"]

`Elsewhere` is a network on which names are such hosts: ``Elsewhere({"cdn.example": host})``.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpcore2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PUBLIC = "93.184.215.14"
"""An address of the public internet, where `Elsewhere` says its names are."""

# What a picture begins with; the rest does not matter to anybody.
PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40


@dataclass(frozen=True)
class File:
    """What to answer. ``length`` is what the answer claims; ``kind`` how it is given:

    ``whole``, ``drip`` (byte by byte, slowly), ``endless`` (for as long as it is read), ``hang``
    (the head never comes), ``break`` (half of it).
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    kind: str = "whole"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FakeFiles:
    """The server. Open it with ``with``; it listens on a free loopback port."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.requests: list[Asked] = []
        self.let_go = threading.Event()
        """What is given with ``waits`` comes only when this is set."""
        self.waiting: list[str] = []
        self.written_bytes = 0
        self._files: dict[str, File] = {}
        self._waits: set[str] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.host = self
        self.port = self._server.server_address[1]
        if certificate is not None:
            self._server.socket = certificate.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        return [one.path for one in self.requests]

    def has(self, path: str, file: File, *, waits: bool = False) -> None:
        """Answer so, to every request of this path (without its query)."""
        self._files[path] = file
        if waits:
            self._waits.add(path)

    def take(self, asked: Asked) -> File:
        self.requests.append(asked)
        path = asked.path.partition("?")[0]
        if path in self._waits:
            self.waiting.append(path)
            self.let_go.wait()
        return self._files.get(path, File(status=404))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go.set()
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    host: FakeFiles
    daemon_threads = False  # closing waits for every handler, so none outlives its test

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers who leave in the middle: that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        file = self.server.host.take(Asked(self.command, self.path, headers, body))
        if file.kind == "hang":
            self.server.closing.wait()
            return
        self.send_response(file.status)
        for name, value in file.headers.items():
            self.send_header(name, value)
        if file.kind != "endless":
            length = len(file.body) if file.length is None else file.length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        for part in self._parts(file):
            self.wfile.write(part)
            self.server.host.written_bytes += len(part)

    def do_POST(self) -> None:
        self.do_GET()

    def _parts(self, file: File) -> Iterable[bytes]:
        if file.kind == "break":
            yield file.body[: len(file.body) // 2]
        elif file.kind == "drip":
            for at in range(len(file.body)):
                yield file.body[at : at + 1]
                if self.server.closing.wait(0.05):
                    return
        elif file.kind == "endless":
            while not self.server.closing.is_set():
                yield bytes(64 * 1024)
        else:
            yield file.body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a test's output is its failures."""


class Certificate:
    """A certificate for some names, and who trusts it."""

    def __init__(self, folder: Path, *names: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "certificate.pem"
        path.write_bytes(pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.trusting = ssl.create_default_context(cafile=str(path))


class Elsewhere(httpcore2.NetworkBackend):
    """A network whose names are fake hosts, at public addresses; any other name is nobody's.

    ``moved`` names have other addresses; ``connected`` is where connections were made to.
    """

    def __init__(
        self, hosts: dict[str, FakeFiles], moved: dict[str, list[str]] | None = None
    ) -> None:
        self._hosts = hosts
        self._moved = moved or {}
        self._last = ""
        self.connected: list[tuple[str, int]] = []
        self._plain = httpcore2.SyncBackend()

    def resolve(self, host: str, port: int) -> list[str]:
        self._last = host
        if host in self._moved:
            return self._moved[host]
        return [PUBLIC] if host in self._hosts else ["127.0.0.1"] if host == "127.0.0.1" else []

    def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        self.connected.append((host, port))
        if host == PUBLIC:
            host, port = "127.0.0.1", self._hosts[self._last].port
        return self._plain.connect_tcp(host, port, *args, **options)
