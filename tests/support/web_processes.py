"""The web server's processes as `timer-service web` runs them, for whoever hurts them."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until
from timer_service.listening_socket import open_listening_socket
from timer_service.processes import web_command


@dataclass(frozen=True)
class Web:
    """A running web server: the process that started the workers, and its port."""

    pid: int
    port: int
    log: Path

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        within_s: float = 30,
    ) -> tuple[int, bytes]:
        """Make one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within_s)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def is_alive(self) -> bool:
        try:
            return self.ask("GET", "/healthz", within_s=5)[0] == 200
        except OSError:
            return False


@contextmanager
def web_processes(environ: Mapping[str, str], folder: Path) -> Iterator[Web]:
    """Serve with these settings until the block ends; it must end gently."""
    listening = open_listening_socket("127.0.0.1", 0)
    descriptor = listening.fileno()
    environment = {
        **os.environ,
        "TIMER_PUBLIC_URL": "https://timer.example",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        **environ,
    }
    log = folder / "web.log"
    with log.open("ab") as written:
        process = subprocess.Popen(
            web_command(descriptor),
            env=environment,
            pass_fds=[descriptor],
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    web = Web(process.pid, listening.getsockname()[1], log)
    try:
        wait_until(web.is_alive, within_s=60, what="it answers")
        yield web
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)
        listening.close()
    assert status == 0
