"""What WAHA calls a session's states, as a connection's.

``waha`` reads them from webhooks, ``waha_control`` from answers. Source: waha.devlike.pro,
sessions, read August 2026.
"""

from __future__ import annotations

from timer_service.messages import ConnectionState, ConnectionUpdate, StatusReason

_STATES: dict[str, tuple[ConnectionState, StatusReason | None]] = {
    "STOPPED": (ConnectionState.STOPPED, StatusReason.STOPPED),
    "STARTING": (ConnectionState.CONNECTING, None),
    "SCAN_QR_CODE": (ConnectionState.WAITING_QR, StatusReason.QR_TO_SCAN),
    "PASSKEY_REQUIRED": (ConnectionState.ACTION_REQUIRED, StatusReason.PASSKEY),
    "PASSKEY_CONFIRMATION_REQUIRED": (ConnectionState.ACTION_REQUIRED, StatusReason.PASSKEY),
    "WORKING": (ConnectionState.CONNECTED, None),
    "FAILED": (ConnectionState.FAILED, StatusReason.LINK_FAILED),
}


def session_update(status: str, own_number: str | None) -> ConnectionUpdate | None:
    """Return what a session's status means; None for one that is not known."""
    found = _STATES.get(status)
    if found is None:
        return None
    state, reason = found
    return ConnectionUpdate(state=state, own_number=own_number, reason=reason)
