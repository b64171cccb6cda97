"""After an outage every gateway brings at once what it kept, in no order (G4)."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.builders import World
from tests.support.web_processes import Web
from tests.web.shop import meta_body, meta_signature

CUSTOMERS = 40
AT_ONCE = 64
PATIENCE_S = 90


@pytest.mark.parametrize("webhooks", [600, pytest.param(20_000, marks=pytest.mark.slow)])
def test_all_that_was_kept_is_taken_in_time_or_refused_in_time_and_stored_once(
    web_world: World, web: Web, webhooks: int, record_property: Callable[[str, object], None]
) -> None:
    number = f"number-of-{web_world.business_id}"
    bodies = [
        meta_body(
            number, text=f"kept {n} of {webhooks}", sender=f"9725{webhooks:05}{n % CUSTOMERS:03}"
        )
        for n in range(webhooks)
    ]
    random.Random(webhooks).shuffle(bodies)
    answers: Counter[int] = Counter()
    took_s: list[float] = []
    ends_s = time.monotonic() + PATIENCE_S

    def bring(body: bytes) -> bool:
        while time.monotonic() < ends_s:
            began_s = time.monotonic()
            status, _ = web.ask("POST", "/webhooks/meta", body, meta_signature(body, "secret"))
            took_s.append(time.monotonic() - began_s)
            answers[status] += 1
            if status == 200:
                return True
        return False

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(bring, bodies))
    took_s.sort()
    record_property("p99_ms", round(1000 * took_s[len(took_s) * 99 // 100]))
    record_property("refused", answers[503])
    assert set(answers) <= {200, 503}
    assert took_s[-1] < 5, "none is left waiting"
    stored = web_world.read(
        "SELECT text, session_id FROM messages WHERE text LIKE :kept", kept=f"kept % of {webhooks}"
    )
    assert len(stored) == len({row["text"] for row in stored}) == webhooks
    sessions = {row["session_id"] for row in stored}
    assert len(sessions) == CUSTOMERS, "one each"
    assert sum(web_world.session(one).message_count for one in sessions) == webhooks
