"""The same application as gateways meet it: two workers, real sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import wait_until
from tests.web.shop import ADMIN_KEY, Shop, bearer, evolution_body, path_of
from timer_service.embedded.server import choose_port
from timer_service.processes import web_command
from timer_service.settings import Settings


@pytest.fixture
def port(settings: Settings, tmp_path: Path) -> Iterator[int]:
    """Run the web server as `timer-service web` does, on the databases of this test."""
    port = choose_port(None)
    assert settings.database_url is not None
    assert settings.redis_url is not None
    assert settings.encryption_keys is not None
    environment = {
        **os.environ,
        "TIMER_DATABASE_URL": settings.database_url.get_secret_value(),
        "TIMER_REDIS_URL": settings.redis_url.get_secret_value(),
        "TIMER_ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
        "TIMER_ADMIN_KEY": ADMIN_KEY,
        "TIMER_PUBLIC_URL": "https://timer.example",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    process = subprocess.Popen(web_command("127.0.0.1", port), env=environment)
    wait_until(lambda: is_alive(port), within_s=60, what="it answers")
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def is_alive(port: int) -> bool:
    try:
        return request(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


def request(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_forty_first_messages_over_http_open_one_session(port: int, shop: Shop) -> None:
    path = path_of(shop.connect("baileys", external_id="carmel")["webhook_url"])

    def deliver(number: int) -> int:
        body = json.dumps(evolution_body("carmel", f"3EB0{number:012}"))
        for _ in range(20):  # a gateway tries again where it is told to
            status, _ = request(port, "POST", path, body, {"Content-Type": "application/json"})
            if status != 503:
                return status
        return 503

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(deliver, range(40))) == {200}
    (session,) = shop.sessions
    assert session["message_count"] == 40
    assert shop.active_count == 1
    assert sum_of(port, "timer_webhooks", "accepted") == 40


def sum_of(port: int, family: str, result: str) -> float:
    _, body = request(port, "GET", "/metrics")
    return sum(
        sample.value
        for one in text_string_to_metric_families(body.decode())
        if one.name == family
        for sample in one.samples
        if sample.labels.get("result") == result
    )


def test_a_body_whose_length_nobody_tells_is_cut_off_at_4_mb(port: int, shop: Shop) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    small = iter([b'{"event": ', b'"chats.set"}'])
    assert request(port, "POST", path, small)[0] == 200
    chunks = (b" " * 65_536 for _ in range(80))
    assert request(port, "POST", path, chunks)[0] == 413
    api = bearer(shop.keys["manager"]) | {"Content-Type": "application/json"}
    assert request(port, "POST", "/api/sessions", (b" " * 65_536 for _ in range(80)), api)[0] == 413
    assert is_alive(port)


def test_a_length_over_4_mb_is_refused_before_the_body_is_sent(port: int, shop: Shop) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(5 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_connections_that_say_nothing_hold_nobody_up(port: int, shop: Shop) -> None:
    path = path_of(shop.connect("baileys", external_id="carmel")["webhook_url"])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
    try:
        began_s = time.monotonic()
        for number in range(10):
            body = json.dumps(evolution_body("carmel", f"3EB1{number:012}"))
            headers = {"Content-Type": "application/json"}
            assert request(port, "POST", path, body, headers)[0] == 200
        assert time.monotonic() - began_s < 3
        silent[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent[0].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for one in silent:
            one.close()
