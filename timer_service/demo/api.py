"""The demo's side of the service's HTTP: the JSON API as an administrator, webhooks as a gateway.

`story` and `traffic` call this. It uses nothing of the service but its address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
from pydantic import BaseModel, ConfigDict

from timer_service import clock
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.errors import TimerServiceError
from timer_service.messages import ProviderName

_TIMEOUT_S = 5.0
_PAGE = 100


class UnexpectedAnswer(TimerServiceError):
    """The service answered something else than the interface promises."""


class SummarySeen(BaseModel):
    """A summary as the API gives it."""

    model_config = ConfigDict(frozen=True)

    status: str
    reason: str | None = None
    title: str | None = None
    text: str | None = None
    customer: str | None = None
    asked_for: str | None = None
    provided: str | None = None
    next_steps: str | None = None
    follow_up: str | None = None
    summarizer: str | None = None


class SessionSeen(BaseModel):
    """A session as the API gives it, as far as the demo looks."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    provider: ProviderName
    customer_wa_id: str
    customer_name: str | None
    number: int
    is_open: bool
    message_count: int
    last_customer_message_at: datetime | None
    deadline_at: datetime
    closed_at: datetime | None
    close_reason: str | None
    close_lateness_ms: int | None
    summary: SummarySeen | None


@dataclass(frozen=True, slots=True)
class Link:
    """A gateway's number as the service has it: its connection, and where its webhooks go."""

    connection_id: UUID
    webhook_url: str

    @property
    def path(self) -> str:
        """The path of the address: its host is the public one, which may not be reachable."""
        return urlsplit(self.webhook_url).path


class DemoApi:
    """The service at ``base_url``, spoken to with the admin key."""

    def __init__(self, base_url: str, admin_key: str) -> None:
        # The address is this machine's own: a proxy in the environment must not come between.
        self._client = httpx2.Client(
            base_url=base_url, timeout=httpx2.Timeout(_TIMEOUT_S), trust_env=False
        )
        self._headers = {"Authorization": f"Bearer {admin_key}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def add_business(self, values: Mapping[str, Any]) -> UUID:
        """Make a business and return its id."""
        return UUID(self._call("POST", "/api/businesses", body=values)["id"])

    def find_business(self, name: str) -> UUID | None:
        """Return the id of the first business of that name, if there is one."""
        cursor: str | None = None
        while True:
            page = self._call("GET", "/api/businesses", limit=_PAGE, cursor=cursor)
            for business in page["items"]:
                if business["name"] == name:
                    return UUID(business["id"])
            cursor = page["next_cursor"]
            if cursor is None:
                return None

    def change_business(self, business_id: UUID, values: Mapping[str, Any]) -> None:
        """Change a business's settings."""
        self._call("PATCH", f"/api/businesses/{business_id}", body=values)

    def link(self, business_id: UUID, gateway: Gateway, *, base_url: str = "") -> Link:
        """Connect a gateway's number, or find it again and tell where its API is now."""
        known = self._find_connection(business_id, gateway)
        body = {"base_url": base_url, "secrets": dict(gateway.secrets)}
        if known is None:
            body |= {
                "provider": gateway.provider.value,
                "external_id": gateway.external_id,
                "name": gateway.name,
            }
            answer = self._call("POST", "/api/connections", body=body, business_id=business_id)
        else:
            path = f"/api/connections/{known}"
            answer = self._call("PATCH", path, body=body, business_id=business_id)
        link = Link(UUID(answer["id"]), str(answer["webhook_url"]))
        linked = gateway.linked_webhook(clock.utc_now())
        if linked is not None:
            self.deliver(link.path, linked)
        return link

    def _find_connection(self, business_id: UUID, gateway: Gateway) -> str | None:
        page = self._call("GET", "/api/connections", business_id=business_id, limit=_PAGE)
        for connection in page["items"]:
            named = (connection["provider"], connection["external_id"])
            if named == (gateway.provider.value, gateway.external_id):
                return str(connection["id"])
        return None

    def send(self, business_id: UUID, link: Link, to: str, text: str) -> None:
        """Have the service send a text, as an agent's program would."""
        body = {"connection_id": str(link.connection_id), "to": to, "text": text, "author": "agent"}
        self._call("POST", "/api/messages", body=body, business_id=business_id)

    def active_chats_count(self, business_id: UUID) -> int:
        """Return how many chats are active."""
        page = self._call("GET", "/api/whatsapp/active-chats", business_id=business_id, limit=1)
        return int(page["active_chats_count"])

    def sessions(self, business_id: UUID) -> list[SessionSeen]:
        """Return the newest hundred sessions, newest first."""
        page = self._call("GET", "/api/sessions", business_id=business_id, limit=_PAGE)
        return [SessionSeen.model_validate(item) for item in page["items"]]

    def deliver(self, path: str, webhook: Webhook) -> int:
        """Post a webhook as the gateway would and return the status of the answer."""
        response = self._client.post(path, content=webhook.body, headers=dict(webhook.headers))
        return response.status_code

    def _call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, **query: Any
    ) -> Any:
        response = self._client.request(
            method,
            path,
            json=body,
            params={name: str(value) for name, value in query.items() if value is not None},
            headers=self._headers,
        )
        if not response.is_success:
            raise UnexpectedAnswer(
                f"{method} {path} was answered {response.status_code}: expected success. "
                "Check the admin key and the web process's log"
            )
        return response.json()
