"""The same application as gateways meet it: two workers, real sockets; one server for all tests."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from granian.server.mp import MPServer
from prometheus_client.parser import text_string_to_metric_families

from tests.support.deployment import children_of
from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from tests.support.web_processes import Web, web_processes
from tests.web.shop import ADMIN_KEY, Shop, bearer, evolution_body, path_of, settings_for
from timer_service import web_server
from timer_service.listening_socket import open_listening_socket
from timer_service.settings import Settings
from timer_service.web_server import ASK_TO_LEAVE_EVERY, WORKERS, WebServer


@pytest.fixture(scope="module")
def settings(postgres_server: PostgresServer, redis_server: RedisServer) -> Iterator[Settings]:
    """Give one database to all these tests: each has a shop of its own in it."""
    url = postgres_server.make_database()
    redis_server.make_new()
    yield settings_for(url, redis_server.url)
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def one_server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Run the web server as `timer-service web` does; tests take `server`, which is whole."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    assert settings.encryption_keys is not None
    environment = {
        "TIMER_DATABASE_URL": settings.database_url.get_secret_value(),
        "TIMER_REDIS_URL": settings.redis_url.get_secret_value(),
        "TIMER_ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
        "TIMER_ADMIN_KEY": ADMIN_KEY,
    }
    with web_processes(environment, tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def server(one_server: Web) -> Web:
    """Return the server with every worker there, whatever the test before did to it."""
    wait_until(lambda: len(children_of(one_server.pid)) == WORKERS, what="every worker is there")
    wait_until(lambda: is_alive(one_server.port), within_s=20, what="it answers")
    return one_server


@pytest.fixture
def port(server: Web) -> int:
    """Return where the web server listens."""
    return server.port


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
    before = sum_of(port, "timer_webhooks", "accepted")
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
    assert sum_of(port, "timer_webhooks", "accepted") - before == 40


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


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit is Linux's")
def test_descriptors_that_run_out_keep_callers_waiting_and_end_no_worker(server: Web) -> None:
    workers = children_of(server.pid)
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers}
    for pid, (_, most) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, most))
    try:
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        for one in crowd:
            one.close()
        wait_until(lambda: is_alive(server.port), within_s=20, what="it answers again")
        assert children_of(server.pid) == workers
    finally:
        for pid in workers & children_of(server.pid):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before[pid])


def test_a_hang_up_replaces_every_worker_and_refuses_nobody(server: Web) -> None:
    before = children_of(server.pid)
    os.kill(server.pid, signal.SIGHUP)
    answered = []

    def is_new() -> bool:
        answered.append(is_alive(server.port))
        now = children_of(server.pid)
        return len(now) == len(before) and not now & before

    wait_until(is_new, within_s=60, what="every worker is a new one")
    assert all(answered)


def test_workers_may_die_again_and_again_while_the_other_answers(server: Web) -> None:
    lasting = min(children_of(server.pid))
    killed: set[int] = {lasting}
    for _ in range(4):
        wait_until(lambda: children_of(server.pid) - killed, what="there is another worker")
        (victim,) = children_of(server.pid) - killed
        killed.add(victim)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: is_alive(server.port), what="the one that is left answers")
    assert lasting in children_of(server.pid)


def test_whether_the_application_cannot_be_loaded_is_left_to_granian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def note(self: MPServer, *_: object) -> None:
        self.respawned_wrks[0] = 1.0

    monkeypatch.setattr(MPServer, "_respawn_workers", note)
    monkeypatch.setattr(web_server, "PAUSE_AFTER_DEATH_S", 0)
    with open_listening_socket("127.0.0.1", 0) as listening:
        server = WebServer(listening)
        server._respawn_workers([0], None, None)
        assert server.respawned_wrks  # by which it sees a second death
        server.has_loaded.value = True
        server._respawn_workers([0], None, None)
        assert not server.respawned_wrks


def test_a_worker_that_is_to_end_takes_no_new_caller(server: Web) -> None:
    before = children_of(server.pid)
    os.kill(server.pid, signal.SIGHUP)
    asked_to_leave = 0
    answered = 0
    while children_of(server.pid) & before:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        asked_to_leave += answer.getheader("Connection") == "close"
        answered += answer.read() != b""
        connection.close()
    assert answered > 20
    # one each may have been taken an instant before
    assert asked_to_leave <= len(before) + answered // ASK_TO_LEAVE_EVERY + len(before)


def test_a_worker_that_is_to_end_asks_callers_to_leave_and_cuts_nobody_off(server: Web) -> None:
    kept = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in range(8)]
    for one in kept:
        ask_alive(one)
    before = children_of(server.pid)
    os.kill(server.pid, signal.SIGHUP)
    asked_to_leave: set[int] = set()

    def are_replaced() -> bool:
        asked_to_leave.update(index for index, one in enumerate(kept) if ask_alive(one) == "close")
        return not children_of(server.pid) & before

    wait_until(are_replaced, within_s=30, every_s=0.1, what="both workers are replaced")
    assert asked_to_leave == set(range(len(kept)))
    for one in kept:
        one.close()


def test_callers_are_asked_now_and_then_to_connect_again(server: Web) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    answers = [ask_alive(connection) for _ in range(4 * ASK_TO_LEAVE_EVERY)]
    connection.close()
    assert set(answers) == {None, "close"}
    assert 3 <= answers.count("close") <= 5  # each worker counts its own, from where it was


def ask_alive(connection: http.client.HTTPConnection) -> str | None:
    """Ask on a connection that was kept, or anew where it was to be left; return what it says."""
    connection.request("GET", "/healthz")  # a connection that was cut would raise here
    answer = connection.getresponse()
    assert answer.read()
    return answer.getheader("Connection")
