"""Signed webhooks as Meta's Cloud API sends them, rendered to the bytes of whole HTTP requests.

`load` renders a plan before its clock starts. Each message of a body is a change of its own, with
its sender's profile. Source: developers.facebook.com, WhatsApp webhooks, read August 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timer_service.clock import epoch_s

_NEW_FROM = 50_000_000
"""Customers from this number on are new ones."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A business's number at Meta."""

    phone_number_id: str
    business_account_id: str
    app_secret: str
    number: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. ``run`` keeps the message ids of two plans apart.

    ``customers``: how many there are, spread over the tenants; each message is of a random one, or
    of one never seen for a ``new_share`` of them. ``in_order``: of one after the other instead.
    """

    port: int
    tenants: Sequence[Tenant]
    run: str
    requests: int
    customers: int = 5_000
    batch: int = 1
    in_flight: int = 16
    rate: float | None = None
    seconds: float | None = None
    new_share: float = 0.0
    in_order: bool = False
    seed: int = 1

    @property
    def id_head(self) -> str:
        """What the ids of all its messages, and of no other plan's, begin with."""
        return f"wamid.HBgMOTcyNTAwMDAwMDAx{self.run}x"

    def message_ids(self, request: int) -> list[str]:
        """Return the ids of the messages in a request."""
        return [f"{self.id_head}{request:08d}{place:03d}A==" for place in range(self.batch)]


def render(plan: Plan) -> list[bytes]:
    """Return each request of a plan as it goes over the wire."""
    rng = random.Random(plan.seed)
    customers = _choose_customers(plan, rng)
    return [_request(plan, index, customers, rng) for index in range(plan.requests)]


def _choose_customers(plan: Plan, rng: random.Random) -> Iterator[int]:
    """Yield customers; those of one request share their number's last digits with its tenant."""
    tenants = len(plan.tenants)
    for index in range(plan.requests):
        tenant = index % tenants
        own = range(tenant, plan.customers, tenants)
        for place in range(plan.batch):
            position = index // tenants * plan.batch + place
            if plan.in_order:
                yield own[position % len(own)]
            elif plan.new_share and rng.random() < plan.new_share:
                yield _NEW_FROM + position * tenants + tenant
            else:
                yield own[rng.randrange(len(own))]


def _request(plan: Plan, index: int, customers: Iterator[int], rng: random.Random) -> bytes:
    tenant = plan.tenants[index % len(plan.tenants)]
    number = {"display_phone_number": tenant.number, "phone_number_id": tenant.phone_number_id}
    stamp = str(int(epoch_s()))
    changes = []
    for message_id in plan.message_ids(index):
        customer = next(customers)
        phone, user_id = f"9725{customer:08d}", f"IL.1{customer:019d}"
        message = {
            "from": phone,
            "from_user_id": user_id,
            "id": message_id,
            "timestamp": stamp,
            "type": "text",
            "text": {"body": f"Is order {rng.randrange(10**6)} on its way? אני מחכה כבר שעה"},
        }
        profile = {"profile": {"name": f"Dana {customer}"}, "wa_id": phone, "user_id": user_id}
        value = {
            "messaging_product": "whatsapp",
            "metadata": number,
            "contacts": [profile],
            "messages": [message],
        }
        changes.append({"value": value, "field": "messages"})
    entry = {"id": tenant.business_account_id, "changes": changes}
    document = {"object": "whatsapp_business_account", "entry": [entry]}
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    signature = hmac.new(tenant.app_secret.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhooks/meta HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{plan.port}\r\n"
        "User-Agent: facebookexternalua\r\n"
        "Accept: */*\r\n"
        "Accept-Encoding: deflate, gzip\r\n"
        "Content-Type: application/json\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
