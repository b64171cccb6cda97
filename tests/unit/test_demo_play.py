"""The demo and its traffic against a service that refuses, is away, or has lost something."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import httpx2
import pytest
from rich.console import Console

from tests.support.waiting import wait_until
from timer_service.demo import story, traffic
from timer_service.demo.api import Link, SessionSeen, UnexpectedAnswer
from timer_service.demo.gateway import Gateway, Webhook

JSON_CHAT = """{"conversations": [{"provider": "meta",
  "cast": [{"name": "Dana", "phone": "972500001005"}],
  "turns": [{"by": "customer", "after_s": 0, "text": "hi"}]}]}"""


class FakeApi:
    """Stands in for `DemoApi`: remembers what it was asked, and answers as told."""

    def __init__(self) -> None:
        self.businesses: list[str] = []
        self.changes: list[dict[str, object]] = []
        self.links = 0
        self.base_url = ""
        self.sent: list[tuple[str, str, str]] = []
        self.ids_delivered: list[str | None] = []
        self.answers: list[int | Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        return None

    def add_business(self, values: dict[str, object]) -> UUID:
        self.businesses.append(str(values["name"]))
        return uuid4()

    def find_business(self, name: str) -> UUID | None:
        return uuid4() if name in self.businesses else None

    def change_business(self, business_id: UUID, values: dict[str, object]) -> None:
        assert business_id
        self.changes.append(values)

    def link(self, business_id: UUID, gateway: Gateway, *, base_url: str = "") -> Link:
        assert business_id
        self.links += 1
        self.base_url = base_url
        return Link(uuid4(), f"https://shop.example/webhooks/{gateway.provider.value}")

    def send(self, business_id: UUID, link: Link, to: str, text: str) -> None:
        assert business_id
        self.sent.append((link.path, to, text))

    def active_chats_count(self, business_id: UUID) -> int:
        assert business_id
        return 0

    def sessions(self, business_id: UUID) -> list[SessionSeen]:
        assert business_id
        return []

    def deliver(self, path: str, webhook: Webhook) -> int:
        assert path.startswith("/webhooks/")
        self.ids_delivered.append(webhook.message_id)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()

    def make(base_url: str, admin_key: str) -> FakeApi:
        assert (base_url, admin_key) == ("http://here", "key")
        return fake

    monkeypatch.setattr(story, "DemoApi", make)
    monkeypatch.setattr(traffic, "DemoApi", make)
    monkeypatch.setattr(story, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(traffic, "_AWAY_S", 0.01)
    return fake


@pytest.fixture
def tell(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    path = tmp_path / "chat.json"
    path.write_text(JSON_CHAT)

    def run(speed: float = 1000) -> tuple[int, str]:
        out = io.StringIO()
        code = story.tell_story(
            "http://here",
            "key",
            speed=speed,
            conversation=path,
            idle_gap_s=0,
            console=Console(file=out, width=200),
        )
        return code, out.getvalue()

    return run


def test_a_refused_webhook_ends_the_demo_with_its_status(
    api: FakeApi, tell: Callable[..., tuple[int, str]]
) -> None:
    api.answers = [401]
    code, out = tell()
    assert code == 1
    assert "The demo failed: a meta webhook was answered 401, expected 200" in out


def test_a_refused_redelivery_ends_the_demo_too(
    api: FakeApi, tell: Callable[..., tuple[int, str]]
) -> None:
    api.answers = [200, 409]
    code, out = tell()
    assert code == 1
    assert "answered 409" in out
    assert len(set(api.ids_delivered)) == 1


def test_a_service_that_is_away_ends_the_demo_with_the_reason(
    api: FakeApi, tell: Callable[..., tuple[int, str]]
) -> None:
    api.answers = [httpx2.ConnectError("connection refused")]
    code, out = tell()
    assert code == 1
    assert "The demo failed: connection refused" in out


def test_sessions_that_never_come_end_the_demo_after_a_while(
    api: FakeApi, tell: Callable[..., tuple[int, str]]
) -> None:
    code, out = tell()
    assert code == 1
    assert len(api.ids_delivered) == 2
    assert "expected sessions of 1 messages, found none" in out
    assert "after the last message, in vain" in out


def test_a_speed_of_nothing_is_refused_before_anything_happens(
    api: FakeApi, tell: Callable[..., tuple[int, str]]
) -> None:
    for speed in (0.0, -1.0, float("nan")):
        code, out = tell(speed)
        assert code == 1
        assert "the speed is a number above 0" in out
    assert not api.businesses


@pytest.fixture
def talk(api: FakeApi) -> Callable[..., None]:
    """Let traffic run until something is seen, then stop it."""
    assert api

    def run(is_seen: Callable[[], object], idle_gap_s: int = 1) -> None:
        stop = threading.Event()
        thread = threading.Thread(
            target=traffic.keep_talking,
            args=("http://here", "key"),
            kwargs={"idle_gap_s": idle_gap_s, "stop": stop},
        )
        thread.start()
        try:
            wait_until(is_seen, within_s=10, what="the traffic did it")
        finally:
            stop.set()
            thread.join(10)
        assert not thread.is_alive()

    return run


def test_what_was_not_acknowledged_is_delivered_again(
    api: FakeApi, talk: Callable[..., None]
) -> None:
    api.answers = [httpx2.ConnectError("away"), 503, httpx2.ReadTimeout("slow"), 200]
    talk(lambda: len(api.ids_delivered) >= 5)
    first, *_ = api.ids_delivered
    assert api.ids_delivered[:5].count(first) == 4


def test_three_customers_talk_from_the_start(api: FakeApi, talk: Callable[..., None]) -> None:
    talk(lambda: len(api.ids_delivered) >= 3, idle_gap_s=3600)
    assert len(set(api.ids_delivered)) == len(api.ids_delivered)
    assert api.businesses == [traffic.BUSINESS_NAME]
    assert api.links == 4
    assert api.base_url.startswith("http://127.0.0.1:")


def test_a_business_that_is_there_already_is_used_again_with_the_present_gap(
    api: FakeApi, talk: Callable[..., None]
) -> None:
    api.businesses = [traffic.BUSINESS_NAME]
    talk(lambda: api.ids_delivered)
    assert api.businesses == [traffic.BUSINESS_NAME]
    assert api.changes == [{"idle_gap_s": 1}]


def test_a_connection_that_was_deleted_is_made_again(
    api: FakeApi, talk: Callable[..., None]
) -> None:
    api.answers = [200, 401]
    talk(lambda: api.links >= 8)


def test_traffic_waits_for_a_service_that_is_not_up_yet(
    api: FakeApi,
    talk: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    troubles: list[Exception] = [httpx2.ConnectError("no"), UnexpectedAnswer("503")]
    link = api.link

    def troubled(*args: object, **more: object) -> Link:
        if troubles:
            raise troubles.pop()
        return link(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "link", troubled)
    talk(lambda: api.ids_delivered)
    assert not troubles
