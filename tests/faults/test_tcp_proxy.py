"""The proxy the other tests break networks with does what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.tcp_proxy import TcpProxy, Way
from tests.support.waiting import wait_until


@pytest.fixture
def echo() -> Iterator[TcpProxy]:
    """Give a proxy before a server that answers what it was told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with TcpProxy("127.0.0.1", listener.getsockname()[1]) as proxy:
        yield proxy
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def line(echo: TcpProxy) -> Iterator[socket.socket]:
    """Give a connection by way of the proxy, over which something went already."""
    with dial(echo) as line:
        assert said(line, b"first") == b"first"
        yield line


def dial(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2)


def said(line: socket.socket, what: bytes) -> bytes:
    line.sendall(what)
    return line.recv(100)


@pytest.mark.parametrize("way", Way)
def test_what_a_silent_way_held_comes_when_it_opens(
    echo: TcpProxy, line: socket.socket, way: Way
) -> None:
    echo.blackhole(way)
    with pytest.raises(TimeoutError):
        said(line, b"second")
    with dial(echo) as other, pytest.raises(TimeoutError):
        said(other, b"also silent")
    echo.pass_all()
    assert line.recv(100) == b"second"


def test_a_delay_holds_each_piece(echo: TcpProxy, line: socket.socket) -> None:
    echo.delay(0.05, 0.01)
    began_s = time.monotonic()
    assert said(line, b"second") == b"second"
    assert 0.1 <= time.monotonic() - began_s < 0.2


def test_a_reset_reaches_old_and_new_connections(echo: TcpProxy, line: socket.socket) -> None:
    echo.reset()
    with pytest.raises(ConnectionResetError):
        line.recv(100)
    # It may come before the connection is known to be there.
    with pytest.raises((ConnectionResetError, BrokenPipeError)), dial(echo) as other:
        said(other, b"refused") and said(other, b"again")
    echo.pass_all()
    with dial(echo) as other:
        assert said(other, b"hello") == b"hello"
    wait_until(lambda: echo.open_connections == 0, what="nothing is left open")


def test_a_half_closed_connection_still_carries_the_other_way(
    echo: TcpProxy, line: socket.socket
) -> None:
    echo.half_close(Way.TO_CLIENT)
    assert line.recv(100) == b""
    line.sendall(b"still heard")


def test_bytes_drip(echo: TcpProxy, line: socket.socket) -> None:
    echo.drip(bytes_per_s=20, way=Way.TO_CLIENT)
    assert said(line, b"abc") == b"a"
    assert line.recv(100) == b"b"


def test_an_answer_is_cut_short(echo: TcpProxy, line: socket.socket) -> None:
    echo.truncate(3)
    assert said(line, b"second") == b"sec"
    assert line.recv(100) == b""


def test_the_answer_to_one_request_is_lost(echo: TcpProxy, line: socket.socket) -> None:
    echo.lose_answer(b"COMMIT")
    assert said(line, b"SELECT") == b"SELECT"
    with pytest.raises(ConnectionResetError):
        said(line, b"COMMIT")
    assert echo.lost_answers == 1
    with dial(echo) as other:
        assert said(other, b"COMMIT") == b"COMMIT"


def test_a_url_is_changed_in_its_host_and_port_only(echo: TcpProxy) -> None:
    changed = echo.url("postgresql://user:secret@db.example:6000/name?sslmode=disable")
    assert changed == f"postgresql://user:secret@127.0.0.1:{echo.port}/name?sslmode=disable"
