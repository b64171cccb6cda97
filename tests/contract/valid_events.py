"""What every parsed item must be, whatever was sent: storable, bounded, aware of its time zone."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from timer_service.messages import (
    ChangeKind,
    ChatMessage,
    DeliveryStatus,
    IdentityLink,
    MessageChange,
    ParsedItem,
    Skipped,
)

SKIP_REASONS = frozenset(
    {"group", "status_broadcast", "broadcast", "newsletter", "history", "self", "undecryptable"}
    | {"system", "unknown", "own_number"}
)
_TYPES = frozenset(
    {"text", "image", "video", "document", "audio", "voice", "sticker", "location", "contacts"}
    | {"button_reply", "list_reply", "order", "system", "media", "unsupported"}
)


def assert_valid(items: Any) -> None:
    """Check a parser's whole answer."""
    assert isinstance(items, list)
    assert items, "even what means nothing is counted"
    for item in items:
        assert isinstance(item, ParsedItem)
        assert item.account is None or _is_id(item.account)
        _assert_valid_event(item.event)
        _assert_storable(item.event)


def _assert_valid_event(event: Any) -> None:
    match event:
        case ChatMessage():
            assert _is_id(event.provider_message_id)
            assert event.reply_to is None or _is_id(event.reply_to)
            assert event.contact.best
            assert event.type in _TYPES
            assert len(event.text) <= 65_536
            json.dumps(event.extra, allow_nan=False)
        case DeliveryStatus():
            assert _is_id(event.provider_message_id)
            assert event.error_code is None or 0 <= event.error_code < 2**31
        case MessageChange():
            assert _is_id(event.target)
            assert event.provider_message_id is None or _is_id(event.provider_message_id)
            assert event.direction or event.kind is not ChangeKind.REACTION
        case IdentityLink():
            assert len(event.contact.pairs()) >= 2
        case Skipped():
            assert event.reason in SKIP_REASONS


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and bool(value.strip())


def _assert_storable(value: Any) -> None:
    if is_dataclass(value):
        for one in fields(value):
            _assert_storable(getattr(value, one.name))
    elif isinstance(value, dict):
        for key, entry in value.items():
            _assert_storable(key)
            _assert_storable(entry)
    elif isinstance(value, list):
        for entry in value:
            _assert_storable(entry)
    elif isinstance(value, datetime):
        assert value.utcoffset() == timedelta(0)
    elif isinstance(value, str):
        value.encode("utf-8")
        assert "\x00" not in value
    elif isinstance(value, int):
        assert abs(value) < 2**70
