"""The control side of gateways: WAHA's and Evolution's devices, Meta's and Twilio's accounts.

`ControlApi` is the gateways without a network: it is asked and answers, and a test moves what
people and WhatsApp move (`scan`, `renew`, `drop`). `FakeControlGateway` serves it::

    with FakeControlGateway() as gateway:
        …  # a connection's base_url is gateway.url, its api_key gateway.api.key
        gateway.api.scan("default")
        assert gateway.api.devices["default"].is_linked

Replies given to `will` are answered first, in their order, whatever was asked.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.fake_model import Reply
from timer_service.providers.sending import GatewayAnswer, GatewayRequest

OWN_NUMBER = "15550009999"
Answer = tuple[int, Any]


@dataclass
class Device:
    """A session of WAHA's or an instance of Evolution's."""

    name: str
    state: str = "stopped"
    """``stopped``, ``starting``, ``waiting``, ``working`` or ``failed``."""
    codes: int = 0
    """How many QR codes it has shown."""
    config: dict[str, Any] = field(default_factory=dict)
    webhook: dict[str, Any] = field(default_factory=dict)
    closed_with: int | None = None
    restarts: int = 0

    @property
    def is_linked(self) -> bool:
        return self.state == "working"

    @property
    def code(self) -> str:
        return f"2@FAKEQR{self.codes:04d},{'A' * 120},{'B' * 44},{'C' * 44}"

    def begin(self) -> None:
        """Start, and show a code where no phone is linked."""
        if self.state in {"stopped", "failed"}:
            self.state, self.codes = "waiting", self.codes + 1


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names are lower-case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @classmethod
    def read(cls, method: str, url: str, headers: dict[str, str], raw: bytes) -> Asked:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(method, parts.path, query, headers, json.loads(raw) if raw else None)


class ControlApi:
    """What all four gateways answer, and what happens to their devices and accounts."""

    def __init__(self, key: str = "control-key") -> None:
        self.key = key
        self.asked: list[Asked] = []
        self.devices: dict[str, Device] = {}
        self.contacts: list[dict[str, Any]] = []
        self.lids: list[dict[str, Any]] = []
        self.pages_contacts = True
        self.meta_number: dict[str, Any] = meta_number()
        self.meta_apps: list[dict[str, Any]] = [{"whatsapp_business_api_data": {"id": "300"}}]
        self.twilio_account: dict[str, Any] = {"status": "active"}
        self.twilio_senders: list[dict[str, Any]] = []
        self.twilio_next: str | None = None

    def add(self, name: str, state: str = "stopped") -> Device:
        self.devices[name] = Device(name, state)
        return self.devices[name]

    def scan(self, name: str) -> None:
        """Scan the code that is shown with a phone."""
        device = self.devices[name]
        assert device.state == "waiting"
        device.state, device.closed_with = "working", None

    def renew(self, name: str) -> None:
        """Let the code expire and the next be shown."""
        self.devices[name].codes += 1

    def drop(self, name: str, code: int) -> None:
        """Close the link for good, as WhatsApp does with a reason."""
        self.devices[name].state, self.devices[name].closed_with = "failed", code

    def take(self, request: GatewayRequest) -> GatewayAnswer:
        """Answer one of our requests without a network."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        status, document = self.answer(
            Asked.read(request.method, request.url, headers, request.body)
        )
        return GatewayAnswer(status, {}, json.dumps(document).encode())

    def answer(self, asked: Asked) -> Answer:
        """Answer as the gateway whose address was called."""
        self.asked.append(asked)
        for pattern, of_whom, handle in _ROUTES:
            found = re.fullmatch(pattern, f"{asked.method} {asked.path}")
            if found:
                refusal = self._refusal(of_whom, asked)
                return refusal or handle(self, asked, *map(unquote, found.groups()))
        return 404, {"message": f"Cannot {asked.method} {asked.path}", "statusCode": 404}

    def _refusal(self, of_whom: str, asked: Asked) -> Answer | None:
        offered = {
            "waha": asked.headers.get("x-api-key"),
            "evolution": asked.headers.get("apikey"),
            "meta": asked.headers.get("authorization", "").removeprefix("Bearer "),
        }
        if of_whom == "twilio":
            is_known = asked.headers.get("authorization", "").startswith("Basic ")
            return None if is_known else (401, {"code": 20003, "status": 401})
        if offered[of_whom] == self.key:
            return None
        return {
            "waha": (401, {"message": "Unauthorized", "statusCode": 401}),
            "evolution": (
                401,
                {"status": 401, "error": "Unauthorized", "response": {"message": "Unauthorized"}},
            ),
            "meta": meta_error(190, 467, "Invalid OAuth access token."),
        }[of_whom]

    # WAHA

    def waha_create(self, asked: Asked) -> Answer:
        name = asked.body["name"]
        if name in self.devices:
            return 422, {"message": f"Session '{name}' already exists.", "statusCode": 422}
        device = self.add(name)
        device.config = asked.body.get("config", {})
        if asked.body.get("start", True):
            device.begin()
        return 201, _waha_session(device)

    def waha_get(self, _: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        return _waha_unknown() if device is None else (200, _waha_session(device))

    def waha_put(self, asked: Asked, name: str) -> Answer:
        device = self.devices[name]
        device.config = asked.body["config"]
        if device.state != "stopped":
            device.restarts += 1
        return 200, _waha_session(device)

    def waha_delete(self, _: Asked, name: str) -> Answer:
        self.devices.pop(name, None)
        return 200, None

    def waha_act(self, _: Asked, name: str, action: str) -> Answer:
        device = self.devices.get(name)
        if device is None:
            return _waha_unknown()
        if action == "stop":
            device.state = "stopped"
        elif action == "logout":
            device.state = "stopped" if device.state == "stopped" else "failed"
            if device.state == "failed":
                device.begin()
        elif action == "restart":
            device.restarts += 1
            device.begin()
        else:
            device.begin()
        return 201, _waha_session(device)

    def waha_qr(self, _: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None or device.state != "waiting":
            status = "STOPPED" if device is None else _WAHA_WORDS[device.state]
            return 422, {
                "error": "Session status is not as expected. Try again later",
                "session": name,
                "status": status,
                "expected": ["SCAN_QR_CODE"],
            }
        return 200, {"value": device.code}

    def waha_code(self, asked: Asked, name: str) -> Answer:
        if self.devices[name].state != "waiting":
            return 422, {"error": "…", "status": _WAHA_WORDS[self.devices[name].state]}
        assert asked.body["phoneNumber"].isdigit()
        return 201, {"code": "ABCD-1234"}

    def waha_contacts(self, asked: Asked) -> Answer:
        return 200, self._page(self.contacts, asked)

    def waha_lids(self, asked: Asked, _: str) -> Answer:
        return 200, self._page(self.lids, asked)

    def _page(self, rows: list[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
        if not self.pages_contacts:
            return rows
        offset, limit = int(asked.query["offset"]), int(asked.query["limit"])
        return rows[offset : offset + limit]

    # Evolution

    def evolution_create(self, asked: Asked) -> Answer:
        name = asked.body["instanceName"]
        if name in self.devices:
            message = [f'This name "{name}" is already in use.']
            return 403, {"status": 403, "error": "Forbidden", "response": {"message": message}}
        device = self.add(name)
        device.webhook = asked.body["webhook"]
        device.begin()
        return 201, {
            "instance": {"instanceName": name, "status": "connecting"},
            "hash": "00000000-FAKE-4000-8000-000000000002",
            "qrcode": _evolution_code(device),
        }

    def evolution_connect(self, asked: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None:
            return 200, {"error": True, "message": f'The "{name}" instance does not exist'}
        if device.is_linked:
            return self.evolution_state(asked, name)
        begins = device.state in {"stopped", "failed"}
        device.begin()
        code = _evolution_code(device)
        if begins and asked.query.get("number"):
            code["pairingCode"] = "WXYZ1234"
        return 200, code

    def evolution_state(self, _: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None:
            return _evolution_unknown(name)
        word = {"working": "open", "waiting": "connecting", "starting": "connecting"}
        state = word.get(device.state, "close")
        return 200, {"instance": {"instanceName": name, "state": state}}

    def evolution_restart(self, asked: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None or device.state in {"stopped", "failed"}:
            return 200, {"error": True, "message": f'The "{name}" instance is not connected'}
        device.restarts += 1
        return self.evolution_connect(asked, name)

    def evolution_log_out(self, _: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None:
            return _evolution_unknown(name)
        if device.state in {"stopped", "failed"}:
            message = [f'The "{name}" instance is not connected']
            return 400, {"status": 400, "error": "Bad Request", "response": {"message": message}}
        device.state, device.closed_with = "stopped", 401
        return 200, _evolution_done("Instance logged out")

    def evolution_delete(self, _: Asked, name: str) -> Answer:
        device = self.devices.get(name)
        if device is None:
            return _evolution_unknown(name)
        if device.is_linked:
            message = [f'The "{name}" instance needs to be disconnected']
            return 400, {"status": 400, "error": "Bad Request", "response": {"message": message}}
        del self.devices[name]
        return 200, _evolution_done("Instance deleted")

    def evolution_list(self, asked: Asked) -> Answer:
        device = self.devices.get(asked.query["instanceName"])
        if device is None:
            return 200, []
        return 200, [{"name": device.name, "disconnectionReasonCode": device.closed_with}]

    def evolution_set_webhook(self, asked: Asked, name: str) -> Answer:
        if name not in self.devices:
            return _evolution_unknown(name)
        self.devices[name].webhook = asked.body["webhook"]
        return 201, self.devices[name].webhook

    def evolution_find_webhook(self, _: Asked, name: str) -> Answer:
        return 200, self.devices[name].webhook

    def evolution_contacts(self, asked: Asked, _: str) -> Answer:
        if not self.pages_contacts:
            return 200, self.contacts
        page, length = asked.body["page"], asked.body["offset"]
        return 200, self.contacts[(page - 1) * length : page * length]

    # Meta and Twilio

    def meta_subscribed(self, _: Asked, __: str) -> Answer:
        return 200, {"data": self.meta_apps}

    def meta_get(self, asked: Asked, number_id: str) -> Answer:
        assert "display_phone_number" in asked.query.get("fields", "display_phone_number")
        if number_id != self.meta_number["id"]:
            return meta_error(100, 33, "Unsupported get request. Object does not exist", 400)
        return 200, self.meta_number

    def twilio_get(self, _: Asked, sid: str) -> Answer:
        return 200, {"sid": sid, **self.twilio_account}

    def twilio_list(self, asked: Asked) -> Answer:
        size, page = int(asked.query.get("PageSize", 50)), int(asked.query.get("Page", 0))
        shown = self.twilio_senders[page * size : (page + 1) * size]
        following = self.twilio_next
        if len(self.twilio_senders) > (page + 1) * size:
            path = "https://messaging.twilio.com/v2/Channels/Senders"
            following = f"{path}?Channel=whatsapp&PageSize={size}&Page={page + 1}"
        return 200, {"senders": shown, "meta": {"next_page_url": following}}


def meta_number(**changes: Any) -> dict[str, Any]:
    """Return a number that works, as Meta describes it."""
    return {
        "id": "100000000000001",
        "display_phone_number": "+1 555-000-9999",
        "verified_name": "Demo Shop",
        "code_verification_status": "VERIFIED",
        "quality_rating": "GREEN",
        "platform_type": "CLOUD_API",
        "name_status": "APPROVED",
        "status": "CONNECTED",
        "webhook_configuration": {"application": "https://timer.example/webhooks/meta"},
        "health_status": {
            "can_send_message": "AVAILABLE",
            "entities": [
                {"entity_type": "PHONE_NUMBER", "id": "100000000000001"},
                {"entity_type": "WABA", "id": "200000000000002"},
                {"entity_type": "APP", "id": "300"},
            ],
        },
        **changes,
    }


def meta_error(code: int, subcode: int | None, message: str, status: int = 401) -> Answer:
    error = {"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode}
    return status, {"error": error}


_WAHA_WORDS = {
    "stopped": "STOPPED",
    "starting": "STARTING",
    "waiting": "SCAN_QR_CODE",
    "working": "WORKING",
    "failed": "FAILED",
}


def _waha_session(device: Device) -> dict[str, Any]:
    me = {"id": f"{OWN_NUMBER}@c.us", "pushName": "Demo Shop"} if device.is_linked else None
    return {
        "name": device.name,
        "status": _WAHA_WORDS[device.state],
        "config": device.config,
        "me": me,
        "engine": {"engine": "NOWEB"},
    }


def _waha_unknown() -> Answer:
    return 404, {"message": "Session not found", "statusCode": 404}


def _evolution_code(device: Device) -> dict[str, Any]:
    base64 = "data:image/png;base64,iVBORw0KGgo="
    return {"pairingCode": None, "code": device.code, "base64": base64, "count": device.codes}


def _evolution_unknown(name: str) -> Answer:
    message = [f'The "{name}" instance does not exist']
    return 404, {"status": 404, "error": "Not Found", "response": {"message": message}}


def _evolution_done(message: str) -> dict[str, Any]:
    return {"status": "SUCCESS", "error": False, "response": {"message": message}}


_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    (r"POST /api/sessions", "waha", ControlApi.waha_create),
    (r"GET /api/sessions/([^/]+)", "waha", ControlApi.waha_get),
    (r"PUT /api/sessions/([^/]+)", "waha", ControlApi.waha_put),
    (r"DELETE /api/sessions/([^/]+)", "waha", ControlApi.waha_delete),
    (r"POST /api/sessions/([^/]+)/(start|stop|restart|logout)", "waha", ControlApi.waha_act),
    (r"GET /api/contacts/all", "waha", ControlApi.waha_contacts),
    (r"GET /api/([^/]+)/auth/qr", "waha", ControlApi.waha_qr),
    (r"POST /api/([^/]+)/auth/request-code", "waha", ControlApi.waha_code),
    (r"GET /api/([^/]+)/lids", "waha", ControlApi.waha_lids),
    (r"POST /instance/create", "evolution", ControlApi.evolution_create),
    (r"GET /instance/connect/([^/]+)", "evolution", ControlApi.evolution_connect),
    (r"GET /instance/connectionState/([^/]+)", "evolution", ControlApi.evolution_state),
    (r"POST /instance/restart/([^/]+)", "evolution", ControlApi.evolution_restart),
    (r"DELETE /instance/logout/([^/]+)", "evolution", ControlApi.evolution_log_out),
    (r"DELETE /instance/delete/([^/]+)", "evolution", ControlApi.evolution_delete),
    (r"GET /instance/fetchInstances", "evolution", ControlApi.evolution_list),
    (r"POST /webhook/set/([^/]+)", "evolution", ControlApi.evolution_set_webhook),
    (r"GET /webhook/find/([^/]+)", "evolution", ControlApi.evolution_find_webhook),
    (r"POST /chat/findContacts/([^/]+)", "evolution", ControlApi.evolution_contacts),
    (r"GET /2010-04-01/Accounts/([^/]+)\.json", "twilio", ControlApi.twilio_get),
    (r"GET /v2/Channels/Senders", "twilio", ControlApi.twilio_list),
    (r"GET /(\d+)/subscribed_apps", "meta", ControlApi.meta_subscribed),
    (r"GET /(\d+)", "meta", ControlApi.meta_get),
)


class FakeControlGateway:
    """Serves a `ControlApi` on a free loopback port. Open it with ``with``."""

    def __init__(self, api: ControlApi | None = None) -> None:
        self.api = api or ControlApi()
        self._replies: deque[Reply] = deque()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gateway = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        """What was asked, as ``GET /api/sessions/default``."""
        return [f"{one.method} {one.path}" for one in self.api.asked]

    def will(self, *replies: Reply) -> None:
        self._replies.extend(replies)

    def take(self, asked: Asked) -> Reply:
        if self._replies:
            self.api.asked.append(asked)
            return self._replies.popleft()
        status, document = self.api.answer(asked)
        return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def drip(self, write: Callable[[bytes], object]) -> None:
        """Write a byte now and then until the gateway closes or the caller goes."""
        while not self._closing.wait(0.05):
            write(b" ")

    def wait_for_close(self) -> None:
        self._closing.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    gateway: FakeControlGateway
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers who went."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.gateway.take(Asked.read(self.command, self.path, headers, raw))
        if reply.kind == "hang":
            self.server.gateway.wait_for_close()
        elif reply.kind == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self.server.gateway.drip(self.wfile.write)
        elif reply.kind == "answer":
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a test's output is its failures."""
