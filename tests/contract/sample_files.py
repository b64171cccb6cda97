"""Real and documented payloads of every gateway, and how each must be normalised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from timer_service.messages import (
    Author,
    ChatMessage,
    ConnectionUpdate,
    DeliveryStatus,
    Direction,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
    ParsedItem,
    Skipped,
)

_FOLDER = Path(__file__).parent / "samples"
_NOT_PARSED = frozenset({"is_group", "waha_id"})


@dataclass(frozen=True)
class Sample:
    """One payload. ``expect`` is what must come out, in order, in the words of expected.json."""

    name: str
    body: bytes
    expect: list[dict[str, Any]]

    @property
    def document(self) -> Any:
        return _document_of(self.name, self.body)

    def encoded(self, document: Any) -> bytes:
        """Write a document, changed by a test, as this sample is written."""
        return form_of(document) if _is_form(self.name) else json.dumps(document).encode()


def samples_of(*gateways: str) -> list[Sample]:
    """Return the samples of some gateways, in the order of expected.json."""
    described = json.loads((_FOLDER / "expected.json").read_bytes())["samples"]
    return [
        Sample(
            one["file"],
            sample_bytes(one["file"]),
            [_in_our_words(expected) for expected in one["expect"]],
        )
        for one in described
        if one["gateway"] in gateways
    ]


def body_of(file: str) -> Any:
    """Return one sample's document, to be changed by a test."""
    return _document_of(file, sample_bytes(file))


def sample_bytes(file: str) -> bytes:
    """Return one sample as it was sent."""
    return (_FOLDER / file).read_bytes()


def form_of(document: dict[str, Any]) -> bytes:
    """Write a form; a list's values follow each other under one name."""
    pairs = [
        (name, "" if value is None else value)
        for name, values in document.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return urlencode(pairs, errors="surrogatepass").encode()


def _document_of(file: str, body: bytes) -> Any:
    if _is_form(file):
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    return json.loads(body)


def _is_form(file: str) -> bool:
    return file.endswith(".txt")


def _in_our_words(expected: dict[str, Any]) -> dict[str, Any]:
    """Write Twilio's account as one, and a time that is not in the payload as none."""
    words = dict(expected)
    if " + " in words.get("tenant", ""):
        words["tenant"] = words["tenant"].replace(" + ", ":")
    if words.get("timestamp") == "receive time":
        words["timestamp"] = None
    return words


def vectors_of(gateway: str) -> dict[str, Any]:
    """Return a gateway's signature vectors."""
    vectors: dict[str, dict[str, Any]] = json.loads((_FOLDER / "signatures.json").read_bytes())
    return vectors[gateway]


def described(item: ParsedItem) -> dict[str, Any]:
    """Return a parsed item in the words of expected.json, with nothing left out."""
    event = item.event
    words: dict[str, Any] = {"tenant": item.account}
    match event:
        case InboundMessage() | OwnMessage():
            from_api = event.author is Author.BOT
            words |= {
                "action": "status" if from_api else "ingest",
                "direction": event.direction.value,
                "origin": {Author.BOT: "api", Author.AGENT: "device"}.get(event.author),
                "status": event.status.value if isinstance(event, OwnMessage) else None,
                **_message_words(event),
            }
        case DeliveryStatus():
            words |= {
                "action": "status",
                "direction": "out",
                "customer_id": event.contact.best if event.contact else None,
                "provider_message_id": event.provider_message_id,
                "timestamp": event.at and _iso(event.at),
                "status": event.status.value,
                "error_code": event.error_code,
                "retryable": event.retryable,
            }
        case MessageChange():
            words |= {
                "action": "mutate",
                "direction": event.direction and event.direction.value,
                "origin": "device" if event.direction is Direction.OUT else None,
                "customer_id": event.contact.best if event.contact else None,
                "provider_message_id": event.provider_message_id,
                "timestamp": event.at and _iso(event.at),
                "type": event.kind.value,
                "text": event.text,
                "target": event.target,
                "sender_name": event.customer_name,
            }
        case IdentityLink():
            words |= {
                "action": "identity",
                "direction": "in",
                "customer_id": event.contact.best,
                "lid": event.contact.lid,
            }
        case ConnectionUpdate():
            words |= {"action": "connection", "connection": event.state.value}
        case Skipped():
            words |= {"action": "skip", "reason": event.reason}
    return words


def _message_words(event: ChatMessage) -> dict[str, Any]:
    return {
        "customer_id": event.contact.best,
        "lid": event.contact.lid if event.contact.phone else None,
        "bsuid": event.contact.bsuid,
        "provider_message_id": event.provider_message_id,
        "timestamp": event.sent_at and _iso(event.sent_at),
        "type": event.type,
        "text": event.text,
        "sender_name": event.customer_name,
        "payload": event.payload,
        "reply_to": event.reply_to,
    }


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def assert_as_expected(items: list[ParsedItem], expect: list[dict[str, Any]]) -> None:
    """Compare what came out with what must come out; a skipped sample must leave only skips."""
    if [one["action"] for one in expect] == ["skip"]:
        allowed = (Skipped, IdentityLink)
        assert items
        assert all(isinstance(item.event, allowed) for item in items), items
        return
    found = [described(item) for item in items]
    assert len(found) == len(expect)
    for words, wanted in zip(found, expect, strict=True):
        named = {name: value for name, value in wanted.items() if name not in _NOT_PARSED}
        assert {name: words.get(name) for name in named} == named
        # What the expectation does not name must be absent, where absence means something.
        for name in {"payload", "reply_to", "lid", "error_code", "target"} - wanted.keys():
            assert words.get(name) is None, name
