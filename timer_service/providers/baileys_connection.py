"""What Evolution API and Baileys servers say of the connection itself.

Called by ``baileys``. Source: Evolution API 2.3.7 and Baileys 7 source code, read August 2026.
"""

from __future__ import annotations

from timer_service.messages import ConnectionState, ConnectionUpdate, Event, Skipped
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
_BY_EVENT = {
    "logout.instance": ConnectionState.LOGGED_OUT,
    "remove.instance": ConnectionState.REMOVED,
    "instance.delete": ConnectionState.REMOVED,
}
_BY_STATE = {
    "open": ConnectionState.CONNECTED,
    "connecting": ConnectionState.CONNECTING,
    "refused": ConnectionState.FAILED,
}
CONNECTION_EVENTS = frozenset(
    {*_BY_EVENT, "connection.update", "status.instance", "qrcode.updated"}
)


def connection_event(event: str, data: JsonObject) -> Event:
    """Read one event of ``CONNECTION_EVENTS``; ``data`` may be empty."""
    if event in _BY_EVENT:
        return ConnectionUpdate(state=_BY_EVENT[event])
    if event == "qrcode.updated":
        state = _qr_state(data)
    elif event == "status.instance":
        closed = as_text(data.get("status")) == "closed"
        state = ConnectionState.LOGGED_OUT if closed else None
    else:
        state = _socket_state(data)
    if state is None:
        return Skipped(reason="system")
    own_number = as_contact_ids(data.get("wuid")).phone
    return ConnectionUpdate(state=state, own_number=own_number)


def _qr_state(data: JsonObject) -> ConnectionState | None:
    if data.get("qrcode"):
        return ConnectionState.WAITING_QR
    # At the limit of codes there is only {"message": …, "statusCode": 500}.
    return ConnectionState.FAILED if "statusCode" in data else None


def _socket_state(data: JsonObject) -> ConnectionState | None:
    """Read ``state`` (Evolution) or ``connection`` (Baileys); None where neither says anything."""
    state = as_text(data.get("state")) or as_text(data.get("connection"))
    if state == "close":
        return _closed_state(data)
    if data.get("qr") and state != "open":
        return ConnectionState.WAITING_QR
    return _BY_STATE.get(state)


def _closed_state(data: JsonObject) -> ConnectionState:
    error = as_object(as_object(data.get("lastDisconnect")).get("error"))
    boom_code = as_object(error.get("output")).get("statusCode")
    code = as_integer(data.get("statusReason") or boom_code)
    if code == _LOGGED_OUT_CODE:
        return ConnectionState.LOGGED_OUT
    return ConnectionState.CONNECTING if code in _PASSING_CODES else ConnectionState.FAILED
