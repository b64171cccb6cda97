"""A web process's inside on servers by way of proxies, with a spool and a number at each gateway.

    with Front(database_url, redis_url, folder) as front:
        front.postgres.blackhole()
        assert front.post(front.meta("hello")).status == 200

What the service did is read past the proxies, in ``front.world``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

from tests.support.builders import World
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until
from tests.web.shop import evolution_body, meta_body, meta_signature
from timer_http import create_app
from timer_service.messages import ProviderName
from timer_service.settings import load_settings
from timer_service.wiring import build_web

SENDER = "972500000001"


@dataclass(frozen=True)
class Post:
    """One webhook."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def to(self, path: str) -> Post:
        """Return the same to another address."""
        return replace(self, path=path)


@dataclass(frozen=True)
class Answer:
    status: int
    retry_after: str | None
    seconds: float


class Front:
    """One web process's services, application and keeper."""

    def __init__(
        self, database_url: str, redis_url: str, spool_dir: Path | None, *, threads: int = 16
    ) -> None:
        self.world = World(database_url, redis_url)
        self.world.trust()
        self.postgres = TcpProxy.before(database_url)
        self.redis = TcpProxy.before(redis_url)
        self.services = build_web(
            load_settings(
                database_url=self.postgres.url(database_url),
                redis_url=self.redis.url(redis_url),
                encryption_keys=self.world.encryption_key,
                spool_dir=spool_dir,
            )
        )
        self.app = create_app(self.services)
        self._pool = ThreadPoolExecutor(threads)
        self._number = self._connect(ProviderName.META, {"app_secret": "secret-of-ours"})
        self._device = self._connect(ProviderName.BAILEYS, {"token": "token-of-ours"})
        for make in (self.meta, self.baileys):
            wait_until(lambda make=make: self.post(make("warm")).status == 200, what="it answers")
        self.drain()

    def _connect(self, provider: ProviderName, secrets: dict[str, str]) -> tuple[str, str]:
        name = f"{provider}-{self.world.business_id}"
        connection = self.world.administration.add_connection(
            self.world.business_id, provider=provider, external_id=name, secrets=secrets
        )
        return str(connection.id), name

    @property
    def number(self) -> str:
        """The number at Meta."""
        return self._number[1]

    def meta(self, text: str, *, sender: str = SENDER, secret: str = "secret-of-ours") -> Post:
        body = meta_body(self._number[1], text=text, sender=sender)
        return Post("/webhooks/meta", body, meta_signature(body, secret))

    def baileys(self, text: str, *, sender: str = SENDER, token: str = "token-of-ours") -> Post:
        body: dict[str, Any] = evolution_body(self._device[1], f"3EB0-{text}")
        body["data"]["key"]["remoteJid"] = f"{sender}@s.whatsapp.net"
        body["data"]["message"]["conversation"] = text
        path = f"/webhooks/baileys/{self._device[0]}/{token}"
        return Post(path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def post(self, post: Post) -> Answer:
        began_s = time.monotonic()
        answer = self.app.test_client().post(post.path, data=post.body, headers=post.headers)
        took_s = time.monotonic() - began_s
        return Answer(answer.status_code, answer.headers.get("Retry-After"), took_s)

    def get(self, path: str) -> str:
        return self.app.test_client().get(path).text

    def post_together(self, posts: Sequence[Post]) -> list[Answer]:
        """Deliver webhooks at once, as many as there are threads."""
        return list(self._pool.map(self.post, posts))

    def together(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(work, items))

    def keep(self) -> int:
        """Let the keeper take its turn."""
        return self.services.spool_keeper.keep_once(Event())

    def drain(self) -> None:
        """Let the keeper take its turns until nothing waits."""
        spool = self.services.spool
        if spool is not None:
            wait_until(lambda: self.keep() is not None and not spool.is_waiting, what="a replay")

    def texts(self) -> list[str]:
        """Return the texts of all stored messages, in the order they stand in their sessions."""
        rows = self.world.read(
            "SELECT text FROM messages ORDER BY session_id, placed_at, received_at, id"
        )
        return [row["text"] for row in rows]

    def close(self) -> None:
        self.postgres.pass_all()
        self._pool.shutdown()
        keeper = self.services.spool_keeper
        self.services.database.close()
        keeper._database.close()
        keeper._announcements._client.close()
        keeper._intake._follow_up._jobs._client.close()
        self.services.live_chats._client.close()
        self.services.jobs._client.close()
        if self.services.spool is not None:
            self.services.spool.close()
        self.postgres.close()
        self.redis.close()
        self.world.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
