"""Bodies that are too large, of untold length, or would grow: refused, in bounded memory (A10)."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from tests.support.builders import World
from tests.support.deployment import children_of
from tests.support.web_processes import Web
from tests.web.shop import meta_body, meta_signature

MB = 2**20
PAGE = 4096
MOST_GROWTH = 20 * MB


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

    for _ in range(10):
        too_large()
    before = resident(web)
    answers = [too_large() for _ in range(60)]
    grown = resident(web) - before
    record_property("grown_kb", grown // 1024)
    assert set(answers) <= {413, 0}
    assert 413 in answers
    assert grown < MOST_GROWTH
    assert web.is_alive()


def test_a_compressed_body_is_refused_unread(world: World, web: Web) -> None:
    bomb = gzip.compress(bytes(64 * MB))
    signed = meta_signature(bomb, "secret")
    before = resident(web)
    for coding in ("gzip", "deflate", "br", "gzip, gzip", "GZIP"):
        headers = signed | {"Content-Encoding": coding}
        assert web.ask("POST", "/webhooks/meta", bomb, headers)[0] == 415
    assert resident(web) - before < MOST_GROWTH
    body = meta_body(f"number-of-{world.business_id}")
    as_it_is = meta_signature(body, "secret") | {"Content-Encoding": "identity"}
    assert web.ask("POST", "/webhooks/meta", body, as_it_is)[0] == 200
