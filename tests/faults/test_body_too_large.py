"""Bodies that are too large, of untold length, or would grow: refused, in bounded memory (A10)."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.builders import World
from tests.support.deployment import children_of
from tests.support.waiting import wait_until
from tests.support.web_processes import Web
from tests.web.shop import meta_body, meta_signature
from timer_http.request_body import _LARGE_AT_ONCE as AT_ONCE

MB = 2**20
PAGE = 4096
MOST_GROWTH = 128 * MB
"""What threads and their arenas may keep; each body that stayed would be 4 MB more."""


def resident(web: Web) -> int:
    """Return the bytes the workers hold in memory, the largest's."""
    return max(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        for pid in children_of(web.pid)
    )


def test_bodies_beyond_the_limit_leave_nothing_behind(
    web: Web, record_property: Callable[[str, object], None]
) -> None:
    def too_large() -> int:
        chunks = (b" " * 65_536 for _ in range(80))
        try:
            return web.ask("POST", "/webhooks/meta", chunks)[0]
        except ConnectionError:
            return 0  # cut off while it was still sending

    for _ in range(30):
        too_large()
    before = resident(web)
    answers = [too_large() for _ in range(60)]
    grown = resident(web) - before
    record_property("grown_kb", grown // 1024)
    assert set(answers) <= {413, 0}
    assert 413 in answers
    assert grown < MOST_GROWTH
    assert web.is_alive()


def test_a_compressed_body_is_refused_unread(web_world: World, web: Web) -> None:
    bomb = gzip.compress(bytes(64 * MB))
    signed = meta_signature(bomb, "secret")
    before = resident(web)
    for coding in ("gzip", "deflate", "br", "gzip, gzip", "GZIP"):
        headers = signed | {"Content-Encoding": coding}
        assert web.ask("POST", "/webhooks/meta", bomb, headers)[0] == 415
    assert resident(web) - before < MOST_GROWTH
    body = meta_body(f"number-of-{web_world.business_id}")
    as_it_is = meta_signature(body, "secret") | {"Content-Encoding": "identity"}
    assert web.ask("POST", "/webhooks/meta", body, as_it_is)[0] == 200


def test_large_bodies_that_come_slowly_take_no_more_than_their_share(
    web_world: World, web: Web
) -> None:
    head = b"POST /webhooks/meta HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
    body = meta_body(f"number-of-{web_world.business_id}", text="beside large ones")
    signed = meta_signature(body, "secret")
    with ExitStack() as stack:
        for _ in range(2 * len(children_of(web.pid)) * AT_ONCE):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
            one.sendall(head)
        wait_until(
            lambda: web.ask("POST", "/webhooks/meta", iter([body]), signed)[0] == 503,
            within_s=8,
            what="another of untold length is refused",
        )
        assert web.ask("POST", "/webhooks/meta", body, signed)[0] == 200
    wait_until(
        lambda: web.ask("POST", "/webhooks/meta", iter([body]), signed)[0] == 200,
        what="it is taken again",
    )
