"""What Evolution API and Baileys servers say of the connection itself.

Called by ``baileys``. Source: Evolution API 2.3.7 and Baileys 7 source code, read August 2026.
"""

from __future__ import annotations

from dataclasses import replace

from timer_service.messages import (
    ConnectionState,
    ConnectionUpdate,
    Event,
    Skipped,
    StatusReason,
)
from timer_service.providers.json_body import (
    JsonObject,
    as_contact_ids,
    as_integer,
    as_object,
    as_text,
)

_LOGGED_OUT_CODE = 401
# Timed out, closed, unavailable, restart required: Baileys servers reconnect on these by
# themselves. Evolution reports a close only when it will not.
_PASSING_CODES = frozenset({408, 428, 503, 515})
# Baileys' DisconnectReason; what it has no name for is whatsmeow's ConnectFailureReason.
_REASONS = {
    401: StatusReason.UNLINKED,
    402: StatusReason.TEMPORARILY_BANNED,
    403: StatusReason.NUMBER_REFUSED,
    405: StatusReason.OUTDATED,
    406: StatusReason.NUMBER_REFUSED,
    408: StatusReason.CONNECTION_LOST,
    411: StatusReason.MULTI_DEVICE,
    428: StatusReason.CONNECTION_LOST,
    440: StatusReason.REPLACED,
    500: StatusReason.LINK_DAMAGED,
    503: StatusReason.WHATSAPP_UNAVAILABLE,
    515: StatusReason.RESTART_REQUIRED,
}
_BY_EVENT = {
    "logout.instance": ConnectionUpdate(
        state=ConnectionState.LOGGED_OUT, reason=StatusReason.UNLINKED
    ),
    "remove.instance": ConnectionUpdate(state=ConnectionState.REMOVED),
    "instance.delete": ConnectionUpdate(state=ConnectionState.REMOVED),
}
WAITING_QR = ConnectionUpdate(state=ConnectionState.WAITING_QR, reason=StatusReason.QR_TO_SCAN)
_NOT_SCANNED = ConnectionUpdate(state=ConnectionState.FAILED, reason=StatusReason.QR_NOT_SCANNED)
CONNECTION_EVENTS = frozenset(
    {*_BY_EVENT, "connection.update", "status.instance", "qrcode.updated"}
)


def connection_event(event: str, data: JsonObject) -> Event:
    """Read one event of ``CONNECTION_EVENTS``; ``data`` may be empty."""
    if event in _BY_EVENT:
        return _BY_EVENT[event]
    if event == "qrcode.updated":
        update = _qr_update(data)
    elif event == "status.instance":
        is_closed = as_text(data.get("status")) == "closed"
        code = as_integer(data.get("disconnectionReasonCode")) or _LOGGED_OUT_CODE
        reason = _REASONS.get(code, StatusReason.UNLINKED)
        logged_out = ConnectionUpdate(state=ConnectionState.LOGGED_OUT, reason=reason)
        update = logged_out if is_closed else None
    else:
        update = _socket_update(data)
    if update is None:
        return Skipped(reason="system")
    return replace(update, own_number=as_contact_ids(data.get("wuid")).phone)


def closed_update(code: int | None) -> ConnectionUpdate:
    """Return what it means that the link to WhatsApp was closed with that code."""
    reason = _REASONS.get(code or 0, StatusReason.LINK_FAILED)
    if code == _LOGGED_OUT_CODE:
        return ConnectionUpdate(state=ConnectionState.LOGGED_OUT, reason=reason)
    state = ConnectionState.CONNECTING if code in _PASSING_CODES else ConnectionState.FAILED
    return ConnectionUpdate(state=state, reason=reason)


def _qr_update(data: JsonObject) -> ConnectionUpdate | None:
    if data.get("qrcode"):
        return WAITING_QR
    # At the limit of codes there is only {"message": …, "statusCode": 500}.
    return _NOT_SCANNED if "statusCode" in data else None


def _socket_update(data: JsonObject) -> ConnectionUpdate | None:
    """Read ``state`` (Evolution) or ``connection`` (Baileys); None where neither says anything."""
    state = as_text(data.get("state")) or as_text(data.get("connection"))
    if state == "close":
        return closed_update(_code(data))
    if data.get("qr") and state != "open":
        return WAITING_QR
    if state == "open":
        return ConnectionUpdate(state=ConnectionState.CONNECTED)
    if state == "connecting":
        return ConnectionUpdate(
            state=ConnectionState.CONNECTING, reason=_REASONS.get(_code(data) or 0)
        )
    # Evolution refuses once its codes are used up.
    return _NOT_SCANNED if state == "refused" else None


def _code(data: JsonObject) -> int | None:
    error = as_object(as_object(data.get("lastDisconnect")).get("error"))
    boom_code = as_object(error.get("output")).get("statusCode")
    return as_integer(data.get("statusReason") or boom_code)
