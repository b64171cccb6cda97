"""Postgres is gone for longer than the idle gap while customers write, and then web dies too."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from tests.support.callers import (
    Business,
    Caller,
    Line,
    assert_closed_by_silence,
    customer,
    instant,
)
from tests.support.deployment import Parts
from tests.support.servers import PostgresServer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until
from timer_service.child_process import kill_group
from timer_service.clock import utc_now
from timer_service.messages import ProviderName

GAP_S = 3
OUTAGE_S = 5.0
STEADY, LEAVING = (1, 2), (3, 4)


@pytest.fixture(scope="module")
def all_parts(mortal_postgres_server: PostgresServer) -> Iterator[Parts]:
    """Hold web with a spool, a listener and a worker; tests take `parts`."""
    folder = Path(tempfile.mkdtemp(prefix="timer-outage-"))
    parts = Parts(folder, mortal_postgres_server, TIMER_SPOOL_DIR=str(folder / "spool"))
    yield parts
    parts.destroy()


@pytest.fixture
def parts(own_postgres_server: PostgresServer, all_parts: Parts) -> Parts:
    """Return them ready, on a Postgres that may go."""
    assert own_postgres_server.is_running
    all_parts.make_ready()
    return all_parts


@pytest.fixture
def shop(parts: Parts) -> Iterator[Business]:
    caller = Caller(parts.base_url, parts.admin_key, connects_anew=True)
    yield caller.add_business("Shop", idle_gap_s=GAP_S)
    caller.close()


class Chat:
    """One customer at one line, and what was acknowledged of theirs, in order."""

    def __init__(self, line: Line, number: int) -> None:
        self.line = line
        self.person = customer(number + (50 if line.gateway.provider is ProviderName.META else 0))
        self.accepted: list[str] = []
        self.answered_at: list[datetime] = []

    def write(self) -> None:
        webhook = self.line.webhook(self.person, f"message {len(self.accepted)}")
        began_s = time.monotonic()
        assert self.line.post_once(webhook) == 200
        assert time.monotonic() - began_s <= 1.0
        self.accepted.append(webhook.message_id)
        self.answered_at.append(utc_now())


@pytest.mark.timeout(300)
def test_an_outage_longer_than_the_gap_loses_nothing_and_closes_nothing_early(
    parts: Parts, shop: Business, own_postgres_server: PostgresServer
) -> None:
    lines = [shop.connect(provider) for provider in (ProviderName.META, ProviderName.BAILEYS)]
    chats = [Chat(line, number) for line in lines for number in (*STEADY, *LEAVING)]
    steady = [chat for chat in chats if chats.index(chat) % 4 < len(STEADY)]
    for chat in chats * 8:  # so that both web processes know both gateways' connections
        chat.write()

    own_postgres_server.kill()
    for chat in chats:
        chat.write()
    refuse_who_proves_nothing(lines)
    gone_at_s = time.monotonic()
    while time.monotonic() - gone_at_s < OUTAGE_S:
        for chat in steady:
            chat.write()
        time.sleep(0.2)
    kill_group(parts.web.pid)
    wait_until(lambda: not parts.web.is_running, what="web is gone")
    own_postgres_server.start()
    parts.web.start()
    caller = shop.caller
    wait_until(lambda: is_drained(caller), within_s=30, what="the spool is replayed")

    sessions = shop.wait_until_closed(within_s=30)
    for chat in chats:
        (session,) = [one for one in sessions if one["customer_wa_id"] == chat.person.phone]
        stored = [one["provider_message_id"] for one in shop.messages(session["id"])]
        assert stored == chat.accepted
        assert_closed_by_silence(session, idle_gap_s=GAP_S)
        assert instant(session["last_customer_message_at"]) <= chat.answered_at[-1]
    assert len(sessions) == len(chats)


def refuse_who_proves_nothing(lines: list[Line]) -> None:
    meta, baileys = lines
    webhook = meta.webhook(customer(1), "forged")
    headers = {**dict(webhook.headers), "X-Hub-Signature-256": "sha256=" + "0" * 64}
    assert meta.post_once(replace(webhook, headers=headers)) == 401
    to = baileys.webhook(customer(1), "to nobody")
    path = baileys.path.replace(baileys.connection_id, meta.business.id)
    http = meta.business.caller.http
    answer = http.post(path, content=to.body, headers=dict(to.headers))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def is_drained(caller: Caller) -> bool:
    try:
        text = caller.http.get("/metrics").text
    except httpx2.TransportError:
        return False
    return "timer_spool_waiting 0.0" in text


def test_a_webhook_whose_answer_was_lost_comes_again_and_is_stored_once(
    parts: Parts, shop: Business
) -> None:
    line = shop.connect(ProviderName.META)
    with TcpProxy.before(parts.base_url) as proxy:
        webhook = line.webhook(customer(1), "hello")
        proxy.lose_answer(line.path.encode())
        with httpx2.Client(base_url=proxy.url(parts.base_url), trust_env=False) as gateway:
            with pytest.raises(httpx2.TransportError):
                gateway.post(line.path, content=webhook.body, headers=dict(webhook.headers))
            assert proxy.lost_answers == 1
            answer = gateway.post(line.path, content=webhook.body, headers=dict(webhook.headers))
        assert answer.status_code == 200
    session = shop.session_of(customer(1))
    assert [one["text"] for one in shop.messages(session["id"])] == ["hello"]
