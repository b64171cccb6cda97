"""Webhooks that come too many at once are refused while their senders still wait, fairly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from tests.support.waiting import wait_until
from tests.web.shop import Shop, evolution_body, meta_body, meta_signature, path_of
from timer_http import admission
from timer_http.admission import Admission
from timer_service.ids import BusinessId
from timer_service.wiring import WebServices


def test_who_finds_no_room_to_wait_is_refused_at_once() -> None:
    gate = Admission(at_once=1, waiting=1, wait_s=30)
    assert gate.enter()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.enter)
        wait_until(lambda: gate._room._value == 0)
        assert not gate.enter()
        gate.leave()
        assert waiting.result(10)
    gate.leave()
    assert gate._room._value == 2


def test_who_is_not_looked_at_in_time_is_refused_and_leaves_its_room() -> None:
    gate = Admission(at_once=1, waiting=1, wait_s=0.01)
    assert gate.enter()
    assert not gate.enter()
    assert not gate.enter()
    gate.leave()
    assert gate.enter()


def hang(app: Flask, **bounds: Any) -> Admission:
    gate = Admission(**bounds)
    app.extensions[admission._NAME] = gate
    return gate


def shed() -> float:
    return REGISTRY.get_sample_value("timer_webhooks_shed_total") or 0


@pytest.fixture
def gate(app: Flask) -> Admission:
    return hang(app, at_once=1, waiting=0)


def test_a_webhook_too_many_is_503_and_counted_and_the_next_is_taken(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    before = shed()
    assert gate.enter()
    answer = client.post(path, json=evolution_body("carmel"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert shed() == before + 1
    gate.leave()
    for _ in range(3):
        assert client.post(path, json=evolution_body("carmel")).status_code == 200


def test_a_webhook_without_a_turn_is_503_and_counted_and_the_next_is_taken(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    before = shed()
    assert gate.turns.take("somebody", 0)
    answer = client.post(path, json=evolution_body("carmel"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert shed() == before + 1
    gate.turns.give_back()
    for _ in range(3):
        assert client.post(path, json=evolution_body("carmel")).status_code == 200


def test_a_turn_ends_with_its_webhook_however_that_ends(
    client: FlaskClient, shop: Shop, services: WebServices, gate: Admission
) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])

    def send(**what: Any) -> int:
        return client.post(path, **what).status_code

    statuses = [
        send(data=b"no json"),
        client.post("/webhooks/meta", json={}).status_code,
        send(json=evolution_body("carmel")),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.intake, "record", None)
        statuses.append(send(json=evolution_body("carmel", "3EB02")))
    statuses.append(send(json=evolution_body("carmel", "3EB03")))
    assert statuses == [400, 401, 200, 503, 200]
    assert (gate._room._value, gate.turns._free) == (1, 1)


def test_what_programs_record_takes_turns_with_the_webhooks(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    line = shop.connect()
    before = shed()
    assert gate.turns.take("somebody", 0)
    with pytest.raises(AssertionError, match="503"):
        shop.record(line, "hello")
    assert shed() == before + 1
    gate.turns.give_back()
    for text in ("hello", "again"):
        assert shop.record(line, text)


class SlowIntake:
    """Takes in one webhook whenever it is told to; knows whose it took, in order."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._may_end = Semaphore(0)

    def record(self, connection_id: Any, _events: Any) -> list[Any]:
        self.taken.append(str(connection_id))
        assert self._may_end.acquire(timeout=10)
        return []

    def finish(self, count: int) -> None:
        for _ in range(count):
            self._may_end.release()


@pytest.fixture
def slow(services: WebServices, monkeypatch: pytest.MonkeyPatch) -> SlowIntake:
    slow = SlowIntake()
    monkeypatch.setattr(services.intake, "record", slow.record)
    return slow


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_a_business_that_floods_delays_another_by_no_more_than_one_turn_and_is_shed_first(
    app: Flask, shop: Shop, other_shop: Shop, slow: SlowIntake, pool: ThreadPoolExecutor
) -> None:
    gate = hang(app, at_once=2, waiting=6, wait_s=30)
    flooder, other = shop.connect("baileys"), other_shop.connect("baileys")

    def send(line: dict[str, Any], nth: int) -> TestResponse:
        body = evolution_body("any", f"3EB0{nth}")
        return app.test_client().post(path_of(line["webhook_url"]), json=body)

    def waiting() -> int:
        return 6 - gate.turns._room

    flood: list[Future[TestResponse]] = []
    for nth in range(8):
        flood.append(pool.submit(send, flooder, nth))
        wait_until(lambda n=nth + 1: len(slow.taken) + waiting() == n, what="it is in")
    assert send(flooder, 8).status_code == 503

    others = []
    for nth in range(2):
        others.append(pool.submit(send, other, nth))
        wait_until(lambda n=nth: len(queue_of(gate, other_shop)) == n + 1, what="it waits")
    for newest in flood[:-3:-1]:
        assert newest.result(10).status_code == 503
    for nth in range(3, 9):
        slow.finish(1)
        wait_until(lambda n=nth: len(slow.taken) == n, what="the next is taken")
    slow.finish(2)
    assert [one.result(10).status_code for one in [*flood[:6], *others]] == [200] * 8
    a, b = flooder["id"], other["id"]
    assert slow.taken == [a, a, a, b, a, b, a, a]


def queue_of(gate: Admission, shop: Shop) -> list[Any]:
    waiting = {str(who): list(queue) for who, queue in gate.turns._queues.items()}
    return waiting.get(shop.id, [])


def test_who_proves_nothing_uses_up_nobodys_share(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    path = path_of(shop.connect("waha")["webhook_url"])
    assert gate.turns.take("somebody", 0)
    assert client.post(path, json={"event": "message"}).status_code == 401
    assert not gate.turns._queues


def test_a_webhook_for_several_businesses_counts_for_the_one_it_brings_most(
    client: FlaskClient, shop: Shop, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"app_secret": f"app-{uuid4()}", "verify_token": f"verify-{uuid4()}"}
    one = shop.connect("meta", secrets=secrets)["external_id"]
    other = other_shop.connect("meta", secrets=secrets)["external_id"]
    asked: list[BusinessId | None] = []
    gate = hang(client.application, at_once=1, waiting=0)
    take = gate.turns.take

    def note(who: Any, within_s: float) -> bool:
        asked.append(who)
        return take(who, within_s)

    monkeypatch.setattr(gate.turns, "take", note)
    for numbers in ([one, other, other], [one, one, other], ["404"]):
        body = meta_body(*numbers, text=f"hello {len(asked)}")
        headers = meta_signature(body, secrets["app_secret"])
        assert client.post("/webhooks/meta", data=body, headers=headers).status_code == 200
    assert [who and str(who) for who in asked] == [other_shop.id, shop.id, None]
