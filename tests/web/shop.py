"""A business as its programs and gateways use it over HTTP, and webhooks as gateways send them."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import psycopg
from cryptography.fernet import Fernet
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from timer_service.settings import Settings

ADMIN_KEY = "tsa_" + "a" * 43
_numbers = itertools.count(100_000_000_000_001)


def settings_for(database_url: str, redis_url: str) -> Settings:
    """Return the settings of an application on these servers."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        encryption_keys=Fernet.generate_key().decode(),
        admin_key=ADMIN_KEY,
        public_url="https://timer.example",
    )


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Shop:
    """One business with a key for each role."""

    client: FlaskClient
    id: str
    keys: dict[str, str]
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def make(cls, client: FlaskClient, name: str, **settings: Any) -> Shop:
        answer = client.post(
            "/api/businesses", json={"name": name, **settings}, headers=bearer(ADMIN_KEY)
        )
        assert answer.status_code == 201, answer.json
        shop = cls(client, answer.json["id"], {"manager": answer.json["api_key"]})
        for role in ("viewer", "agent"):
            made = shop.post("/api/keys", {"role": role})
            shop.keys[role] = made.json["api_key"]
        return shop

    def request(
        self, method: str, path: str, body: Any = None, *, role: str = "manager", **options: Any
    ) -> TestResponse:
        if body is not None:
            options["json"] = body
        return self.client.open(path, method=method, headers=bearer(self.keys[role]), **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.request("POST", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.request("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)

    def connect(self, provider: str = "baileys", **values: Any) -> dict[str, Any]:
        """Connect an account, with secrets that nobody else has."""
        number = next(_numbers)
        given = {
            "provider": provider,
            "external_id": values.pop("external_id", str(number)),
            "secrets": values.pop("secrets", _secrets_for(provider, number)),
            **values,
        }
        answer = self.post("/api/connections", given)
        assert answer.status_code == 201, answer.json
        return {**answer.json, "secrets": given["secrets"]}

    def record(self, connection: dict[str, Any], *texts: str, **values: Any) -> list[Any]:
        """Record a customer's messages; return what became of each."""
        messages = [
            {
                "provider_message_id": f"m{next(_numbers)}",
                "customer_wa_id": "972500000001",
                "direction": "in",
                "text": text,
                **values,
            }
            for text in texts
        ]
        answer = self.post(
            "/api/messages/record", {"connection_id": connection["id"], "messages": messages}
        )
        assert answer.status_code == 200, answer.json
        return answer.json["results"]

    @property
    def active_count(self) -> int:
        return self.get("/api/whatsapp/active-chats").json["active_chats_count"]

    @property
    def sessions(self) -> list[Any]:
        return self.get("/api/sessions").json["items"]


def _secrets_for(provider: str, number: int) -> dict[str, str]:
    return {
        "meta": {"app_secret": f"app-secret-{number}", "verify_token": f"verify-{number}"},
        "baileys": {"token": f"token-{number}"},
        "twilio": {"auth_token": f"auth-{number}"},
        "waha": {"hmac_key": f"hmac-{number}"},
    }[provider]


def path_of(webhook_url: str) -> str:
    return webhook_url.removeprefix("https://timer.example")


def meta_body(*numbers: str, text: str = "hello", sender: str = "972500000001") -> bytes:
    """Make one of Meta's notifications with a message for each phone_number_id."""
    changes = [
        {
            "field": "messages",
            "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "15550009999", "phone_number_id": number},
                "contacts": [{"profile": {"name": "Dana"}, "wa_id": sender}],
                "messages": [
                    {
                        "from": sender,
                        "id": f"wamid.{number}.{text}",
                        "timestamp": "4102444800",
                        "type": "text",
                        "text": {"body": text},
                    }
                ],
            },
        }
        for number in numbers
    ]
    entry = {"id": "200000000000002", "changes": changes}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def meta_signature(body: bytes, app_secret: str) -> dict[str, str]:
    digest = hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


def evolution_body(
    instance: str | None, message_id: str = "3EB0000000000001", **changes: Any
) -> dict[str, Any]:
    """Make one of Evolution's notifications of a customer's message."""
    body: dict[str, Any] = {
        "event": "messages.upsert",
        "data": {
            "key": {
                "remoteJid": "972500000001@s.whatsapp.net",
                "fromMe": False,
                "id": message_id,
            },
            "pushName": "Dana",
            "message": {"conversation": "hello"},
            "messageType": "conversation",
        },
        **changes,
    }
    if instance is not None:
        body["instance"] = instance
    return body


def waha_body(session: str | None, event: str = "message.any", **payload: Any) -> bytes:
    """Make one of WAHA's notifications, of a customer's message unless the payload says else."""
    message = {
        "id": "false_972500000001@c.us_AC01",
        "from": "972500000001@c.us",
        "fromMe": False,
        "source": "app",
        "body": "hello",
        "hasMedia": False,
    }
    body = {
        "event": event,
        "me": {"id": "15550009999@c.us"},
        "payload": message | payload,
    }
    return json.dumps(body if session is None else body | {"session": session}).encode()


def waha_signature(body: bytes, hmac_key: str) -> dict[str, str]:
    digest = hmac.new(hmac_key.encode(), body, hashlib.sha512).hexdigest()
    return {"X-Webhook-Hmac": digest, "X-Webhook-Hmac-Algorithm": "sha512"}


def close_late(shop: Shop, database_url: str, late_ms: list[int]) -> None:
    """Have conversations that silence ended, each so late after its deadline."""
    line = shop.connect()
    with psycopg.connect(database_url, autocommit=True) as db:
        for number, late in enumerate(late_ms):
            (recorded,) = shop.record(line, "hello", customer_wa_id=f"9725000001{number:02}")
            db.execute(
                "UPDATE sessions SET state = 'closed', close_reason = 'idle', "
                "closed_at = deadline_at + make_interval(secs => %s) WHERE id = %s",
                [late / 1000, recorded["session_id"]],
            )
