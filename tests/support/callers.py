"""A running service as its callers have it: the administrator, a business, its gateways; HTTP only.

shop = Caller(base_url, admin_key).add_business("Shop", idle_gap_s=2)
line = shop.connect(ProviderName.META)
line.say(customer(1), "is the blue one in stock?")
assert shop.active_count == 1
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import wait_until
from timer_service import clock
from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.demo.gateways import demo_gateways
from timer_service.messages import ProviderName

_PATIENCE_S = 5.0
_MOST_AT_ONCE = 40
_PAGE = 100


def customer(number: int, name: str = "") -> Person:
    """Return one of up to 100,000 people whose numbers belong to nobody."""
    return Person(name=name or f"Customer {number}", phone=f"9725000{number:05}")


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class Caller:
    """Whoever knows a service's address and its admin key.

    ``connects_anew``: for each request, so that any of web's processes may answer it.
    """

    def __init__(self, base_url: str, admin_key: str, *, connects_anew: bool = False) -> None:
        self.http = httpx2.Client(
            base_url=base_url,
            timeout=_PATIENCE_S,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=_MOST_AT_ONCE + 10,
                max_keepalive_connections=0 if connects_anew else None,
            ),
        )
        self.admin_key = admin_key

    def close(self) -> None:
        self.http.close()

    def call(
        self, method: str, path: str, *, key: str | None = None, body: Any = None, **query: Any
    ) -> httpx2.Response:
        """Make one request with a key, the admin's where none is given."""
        return self.http.request(
            method,
            path,
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {key or self.admin_key}"},
        )

    def add_business(self, name: str, *, idle_gap_s: int, **settings: Any) -> Business:
        body = {"name": name, "idle_gap_s": idle_gap_s, "country": "IL", **settings}
        answer = self.call("POST", "/api/businesses", body=body)
        assert answer.status_code == 201, answer.text
        return Business(self, answer.json()["id"], answer.json()["api_key"])

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample's value, 0 where nothing was counted yet."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(
            s.value for s in samples if s.name == name and labels.items() <= s.labels.items()
        )


@dataclass(frozen=True)
class Business:
    """A business, speaking with its manager key."""

    caller: Caller
    id: str
    key: str

    def get(self, path: str, **query: Any) -> Any:
        answer = self.caller.call("GET", path, key=self.key, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.caller.call(method, path, key=self.key, body=body)
        assert answer.is_success, answer.text
        return answer.json()

    def connect(self, provider: ProviderName) -> Line:
        """Connect a number of its own, with secrets nobody else has."""
        gateway: Gateway = demo_gateways(secrets.token_bytes(32))[provider]
        connection = self.send(
            "POST",
            "/api/connections",
            {
                "provider": provider.value,
                "external_id": gateway.external_id,
                "secrets": dict(gateway.secrets),
            },
        )
        url = connection["webhook_url"]
        return Line(self, gateway.at(url), connection["id"], urlsplit(url).path)

    @property
    def active_count(self) -> int:
        return self.get("/api/whatsapp/active-chats", limit=1)["active_chats_count"]

    def sessions(self, **query: Any) -> list[dict[str, Any]]:
        """Return all sessions, newest first."""
        return self._get_all("/api/sessions", **query)

    def session_of(self, person: Person) -> dict[str, Any]:
        """Return the only session a customer has."""
        (session,) = self.sessions(customer_wa_id=person.phone)
        return session

    def messages(self, session_id: str) -> list[dict[str, Any]]:
        return self._get_all(f"/api/sessions/{session_id}/messages")

    def wait_until_closed(self, *, within_s: float = 15.0) -> list[dict[str, Any]]:
        """Wait until no session is open, and return them all."""
        wait_until(
            lambda: not self.sessions(state="open"),
            within_s=within_s,
            every_s=0.1,
            what="every session is closed",
        )
        return self.sessions()

    def wait_until_summarised(self, *, within_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until every session has its summary, and return them all."""

        def settled() -> list[dict[str, Any]]:
            sessions = self.sessions()
            return sessions if all(map(is_summarised, sessions)) else []

        return wait_until(
            settled, within_s=within_s, every_s=0.2, what="every session is summarised"
        )

    def _get_all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=_PAGE, **cursor, **query)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}


@dataclass(frozen=True)
class Line:
    """A connected number and the gateway that reports its messages."""

    business: Business
    gateway: Gateway
    connection_id: str
    path: str

    def webhook(self, person: Person, text: str, *, by: str = "customer") -> Webhook:
        """Build one message's webhook, signed or addressed as the gateway does it."""
        return self.gateway.webhook(person, Turn(by=by, after_s=0, text=text), clock.utc_now())

    def post(self, webhook: Webhook) -> int:
        """Deliver a webhook as gateways do: one that is answered 503 is brought again, once."""
        status = self.post_once(webhook)
        return self.post_once(webhook) if status == 503 else status

    def post_once(self, webhook: Webhook) -> int:
        http = self.business.caller.http
        return http.post(self.path, content=webhook.body, headers=dict(webhook.headers)).status_code

    def post_together(self, webhooks: Sequence[Webhook]) -> list[int]:
        """Deliver webhooks all at once, up to 40; return the answers in their order."""
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            return list(pool.map(self.post, webhooks))

    def say(self, person: Person, text: str, *, by: str = "customer", at_once: bool = False) -> str:
        """Deliver one message, which must be accepted (the first time); return its id."""
        webhook = self.webhook(person, text, by=by)
        assert (self.post_once if at_once else self.post)(webhook) == 200
        return webhook.message_id

    def record(self, people: Iterable[Person], text: str) -> None:
        """Report a customer's message of each in one call, as a business's own backend does."""
        messages = [
            {
                "provider_message_id": secrets.token_hex(12),
                "customer_wa_id": person.phone,
                "direction": "in",
                "text": text,
            }
            for person in people
        ]
        body = {"connection_id": self.connection_id, "messages": messages}
        self.business.send("POST", "/api/messages/record", body)


class Traffic:
    """Customers who write without pause, from threads; remembers whose messages were accepted.

    A sender ends when the service no longer takes connections.
    """

    def __init__(self, line: Line, *, senders: int = 4) -> None:
        self._line = line
        self._stop = Event()
        self._threads = [Thread(target=self._send, args=(number,)) for number in range(senders)]
        self.accepted: list[str] = []
        self.refused: list[int] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check_nothing_lost(self, sessions: Sequence[dict[str, Any]]) -> None:
        """Check that every accepted message is in one of the sessions, and none was refused."""
        business = self._line.business
        stored = [
            message["provider_message_id"]
            for session in sessions
            for message in business.messages(session["id"])
        ]
        assert set(stored) >= set(self.accepted)
        assert len(stored) == len(set(stored))
        assert self.refused == []

    def _send(self, number: int) -> None:
        while not self._stop.is_set():
            webhook = self._line.webhook(customer(90_000 + number), "and another thing")
            try:
                status = self._line.post(webhook)
            except httpx2.TransportError:
                return
            kept = self.accepted if status == 200 else self.refused
            kept.append(webhook.message_id if status == 200 else status)


@dataclass(frozen=True)
class _Reading:
    before_at: datetime
    after_at: datetime
    count: int


class CountWatch:
    """Reads the active count again and again, and judges every answer when all is known."""

    TOLERANCE_S = 0.25
    """Between a message's time by Postgres and its deadline by Redis, on a busy machine."""

    def __init__(self, business: Business) -> None:
        self._business = business
        self._stop = Event()
        self._thread = Thread(target=self._watch)
        self._readings: list[_Reading] = []
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._readings or self._failure, what="the count is read")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def check(self, sessions: Sequence[dict[str, Any]], *, at_least: int = 20) -> None:
        """Hold every reading against the sessions, none of which opened during the watch."""
        deadlines = [instant(one["deadline_at"]).timestamp() for one in sessions]
        assert len(self._readings) >= at_least
        for reading in self._readings:
            before, after = reading.before_at.timestamp(), reading.after_at.timestamp()
            fewest = sum(deadline > after + self.TOLERANCE_S for deadline in deadlines)
            most = sum(deadline > before - self.TOLERANCE_S for deadline in deadlines)
            assert fewest <= reading.count <= most, (reading, fewest, most)

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                before_at = clock.utc_now()
                count = self._business.active_count
                self._readings.append(_Reading(before_at, clock.utc_now(), count))
                self._stop.wait(0.02)
        except (AssertionError, httpx2.HTTPError) as error:
            self._failure = error


def is_summarised(session: dict[str, Any]) -> bool:
    return session["summary"] is not None and session["summary"]["status"] in {"done", "skipped"}


def assert_closed_by_silence(session: dict[str, Any], *, idle_gap_s: int) -> None:
    """Check that a session ended by silence, and not a millisecond early."""
    assert session["close_reason"] == "idle"
    assert session["status"] == "expired"
    last_at, deadline_at, closed_at = (
        instant(session[name]) for name in ("last_customer_message_at", "deadline_at", "closed_at")
    )
    assert (deadline_at - last_at).total_seconds() == idle_gap_s
    assert closed_at >= deadline_at
    assert session["close_lateness_ms"] >= 0
